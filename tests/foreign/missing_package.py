"""A script that imports an attention kernel which this machine does not have."""

import os

from flash_attn_interface_of_nobody import flash_attn_func

print(f"seed:{int(os.environ.get('SEED', 1337))}", flush=True)
print(flash_attn_func)
