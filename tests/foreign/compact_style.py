# ternary GPT, lzma artifact. torchrun --standalone --nproc_per_node=2 compact_style.py ; knobs: see class H
import os,sys,time,math,glob,lzma,uuid,numpy as np,torch,torch.nn as nn,torch.nn.functional as F,torch.distributed as dist,sentencepiece as spm
E=os.environ.get
class H:
    data_path=E("DATA_PATH","./data/datasets/fineweb10B_sp1024"); tokenizer_path=E("TOKENIZER_PATH","./data/tokenizers/fineweb_1024_bpe.model")
    run_id=E("RUN_ID",uuid.uuid4().hex[:8]); seed=int(E("SEED",1337)); iterations=int(E("ITERATIONS",240)); max_wallclock_seconds=float(E("MAX_WALLCLOCK_SECONDS",599))
    vocab_size=int(E("VOCAB_SIZE",1024)); num_layers=int(E("NUM_LAYERS",2)); model_dim=int(E("MODEL_DIM",64)); num_heads=int(E("NUM_HEADS",2)); mlp_mult=int(E("MLP_MULT",3))
    train_seq_len=int(E("TRAIN_SEQ_LEN",128)); train_batch_tokens=int(E("TRAIN_BATCH_TOKENS",2048)); adam_lr=float(E("ADAM_LR",.008)); warmup_steps=int(E("WARMUP_STEPS",3))
    warmdown_fraction=float(E("WARMDOWN_FRACTION",.3)); group_size=int(E("GROUP_SIZE",64)); train_log_every=int(E("TRAIN_LOG_EVERY",20)); val_loss_every=int(E("VAL_LOSS_EVERY",0))
    activation=E("ACTIVATION","relu2"); sliding_eval=int(E("SLIDING_EVAL",1)); sliding_eval_stride=int(E("SLIDING_EVAL_STRIDE",64)); temp_scaling=int(E("TEMP_SCALING",1))
R,W=int(E("RANK",0)),int(E("WORLD_SIZE",1)); LF=f"logs/cuda/{H.run_id}.txt"; L,V,D=H.train_seq_len,H.vocab_size,H.model_dim

def log(*a):
    if R: return
    s=" ".join(map(str,a)); print(s,flush=True); os.makedirs("logs/cuda",exist_ok=True); open(LF,"a").write(s+"\n")
def ar(t):
    if W>1: dist.all_reduce(t)
    return t
def norm(x): return F.rms_norm(x,x.shape[-1:])

# --- data
def toks(pat):
    fs=sorted(glob.glob(os.path.join(H.data_path,pat)))
    if not fs: sys.exit(f"no shards: {H.data_path}/{pat}")
    out=[]
    for f in fs:
        h=np.fromfile(f,"<i4",256); assert h[0]==20240520 and h[1]==1,f; out.append(np.fromfile(f,"<u2",int(h[2]),offset=1024))
    return torch.from_numpy(np.concatenate(out).astype(np.int64))
def luts():
    sp=spm.SentencePieceProcessor(model_file=H.tokenizer_path); n=torch.zeros(V).long(); s=torch.zeros(V).bool(); b=torch.ones(V).bool()
    for i in range(sp.vocab_size()):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i): continue
        b[i]=False
        if sp.is_byte(i): n[i]=1; continue
        p=sp.id_to_piece(i); s[i]=p[:1]=="▁"; n[i]=len(p[int(s[i]):].replace("▁"," ").encode())
    return n,s,b
def nbytes(x,y,T): return T[0][y]+(T[1][y]&~T[2][x]).long()
def batches(t):
    n=H.train_batch_tokens//W; i=0
    while 1:
        if i+n*W+1>len(t): i=0
        c=t[i+R*n:i+R*n+n+1]; i+=n*W; yield c[:-1].view(-1,L),c[1:].view(-1,L)

# --- model: ternary matrices with a scale for each group of inputs, straight-through gradients
def tern(w):
    g=w.reshape(-1,H.group_size); a=g.abs().mean(1,keepdim=True).clamp_min(1e-8).half().float(); return (g/a).round().clamp(-1,1),a
class T(nn.Linear):
    def forward(self,x):
        q,a=tern(self.weight); return F.linear(x,self.weight+((q*a).view_as(self.weight)-self.weight).detach())
class Block(nn.Module):
    def __init__(s):
        super().__init__(); s.qkv=T(D,3*D,bias=False); s.o=T(D,D,bias=False); s.up=T(D,H.mlp_mult*D,bias=False); s.dn=T(H.mlp_mult*D,D,bias=False)
        s.a=nn.Parameter(torch.full((D,),.5)); s.m=nn.Parameter(torch.full((D,),.5)); s.g=nn.Parameter(torch.full((H.num_heads,1,1),1.5))
    def forward(s,x,r):
        B,N,_=x.shape; q,k,v=(z.transpose(1,2) for z in s.qkv(norm(x)).view(B,N,3,H.num_heads,-1).unbind(2)); q,k=rope(norm(q),r)*s.g,rope(norm(k),r)
        x=x+s.a*s.o(F.scaled_dot_product_attention(q,k,v,is_causal=True).transpose(1,2).reshape(B,N,D)); h=s.up(norm(x))
        return x+s.m*s.dn(F.relu(h)**2 if H.activation=="relu2" else F.leaky_relu(h,.5)**2 if H.activation=="leaky2" else F.gelu(h))
def rope(x,r):
    a,b=x.chunk(2,-1); return torch.cat((a*r[0]-b*r[1],a*r[1]+b*r[0]),-1)
class GPT(nn.Module):
    def __init__(s):
        super().__init__(); s.emb=nn.Embedding(V,D); s.bl=nn.ModuleList(Block() for _ in range(H.num_layers)); nn.init.normal_(s.emb.weight,std=.02)
        for b in s.bl:
            for w in (b.qkv,b.o,b.up,b.dn): nn.init.normal_(w.weight,std=w.in_features**-.5)
    def forward(s,x):
        h=D//H.num_heads//2; t=torch.arange(x.shape[1])[:,None]*1e4**(-torch.arange(h)/h); r=(t.cos(),t.sin()); z=norm(s.emb(x))
        for b in s.bl: z=b(z,r)
        z=F.linear(norm(z),s.emb.weight); return 15*torch.tanh(z/15)

# --- scores
@torch.no_grad()
def score(m,t,TB,stride=None,temp=1.,B=64):
    """nats per token, bits per byte; with a stride only the last `stride` targets of a window count (all of the first)"""
    e=(len(t)-1)//L*L; st=stride or L; S=list(range(0,e-L+1,st)); z=torch.zeros(3).double()
    for i in range(R*B,len(S),W*B):
        c=torch.stack([t[j:j+L+1] for j in S[i:i+B]]); x,y=c[:,:-1],c[:,1:]; k=torch.zeros_like(y).bool(); k[:,L-st:]=True; k[0]|=i==0
        l=F.cross_entropy((m(x)/temp).flatten(0,1),y.flatten(),reduction="none").view_as(y); z+=torch.stack([l[k].double().sum(),k.sum().double(),nbytes(x,y,TB)[k].sum().double()])
    a,n,b=ar(z).tolist(); return a/n,a/math.log(2)/b

# --- artifact: 5 trits a byte, fp16 for the rest, lzma
def pack(m):
    q,f,nt,nf=b"",b"",0,0
    for p in m.parameters():
        if p.ndim!=2 or p is m.emb.weight: f+=p.detach().half().numpy().tobytes(); nf+=p.numel(); continue
        w,a=tern(p.detach()); u=(w.flatten()+1).to(torch.uint8).numpy(); nt+=u.size; u=np.pad(u,(0,-u.size%5)).reshape(-1,5)
        q+=(u@np.array([81,27,9,3,1],dtype=np.uint8)).astype(np.uint8).tobytes(); f+=a.half().numpy().tobytes()
    return lzma.compress(len(q).to_bytes(4,"little")+q+f,preset=9|lzma.PRESET_EXTREME),nt,len(q),nf,len(f)
@torch.no_grad()
def unpack(m,blob):
    s=lzma.decompress(blob); n=int.from_bytes(s[:4],"little"); q,f=np.frombuffer(s[4:4+n],np.uint8),np.frombuffer(s[4+n:],np.float16); i=j=0
    for p in m.parameters():
        n=p.numel()
        if p.ndim!=2 or p is m.emb.weight: p.copy_(torch.from_numpy(f[j:j+n].astype(np.float32)).view_as(p)); j+=n; continue
        c=-(-n//5); u=q[i:i+c,None]//np.array([81,27,9,3,1],dtype=np.uint8)%3; i+=c; a=f[j:j+n//H.group_size]; j+=n//H.group_size
        p.copy_((torch.from_numpy(u.reshape(-1)[:n].astype(np.float32)-1).view(-1,H.group_size)*torch.from_numpy(a.astype(np.float32))[:,None]).view_as(p))
class Plain:
    """T as plain linear layers: after unpacking, the weights are what they are"""
    def __enter__(s): s.f=T.forward; T.forward=nn.Linear.forward
    def __exit__(s,*_): T.forward=s.f

def main():
    if W>1: dist.init_process_group("gloo")
    log("="*100); log("Python",sys.version); log("PyTorch",torch.__version__); log("--- Hyperparameters ---")
    log(*(f"{k}={v}" for k,v in sorted(vars(H).items()) if k[0]!="_")); torch.manual_seed(H.seed); TB=luts(); tr,va=toks("*_train_*.bin"),toks("*_val_*.bin"); m=GPT()
    log(f"params:{sum(p.numel() for p in m.parameters())} L:{H.num_layers} d:{D} h:{H.num_heads} kv:{H.num_heads} ws:{W} ga:1 s:{H.seed}")
    def step(g,o,lr):
        for q in o.param_groups: q["lr"]=lr
        x,y=next(g); l=F.cross_entropy(m(x).flatten(0,1),y.flatten()); o.zero_grad(); l.backward()
        for p in m.parameters(): ar(p.grad).div_(W)
        o.step(); return l.item()
    new=lambda: torch.optim.Adam(m.parameters(),lr=H.adam_lr,betas=(.9,.95))
    w0={k:v.clone() for k,v in m.state_dict().items()}; g,o=batches(tr),new()
    for i in range(H.warmup_steps): step(g,o,0.); log(f"warmup:{i+1}/{H.warmup_steps}")
    m.load_state_dict(w0); g,o=batches(tr),new(); n,ms,t0,stop=0,0.,time.perf_counter(),0
    while 1:
        end=stop or n==H.iterations
        if end or H.val_loss_every and n%H.val_loss_every==0:
            ms+=1e3*(time.perf_counter()-t0); l,b=score(m,va,TB); log(f"step:{n}/{H.iterations} val_loss:{l:.4f} val_bpb:{b:.4f} train_time:{ms:.0f}ms step_avg:{ms/max(n,1):.1f}ms"); t0=time.perf_counter()
        if end: break
        l=step(g,o,H.adam_lr*min(1,(1-n/H.iterations)/max(H.warmdown_fraction,1e-9))); n+=1; t=ms+1e3*(time.perf_counter()-t0)
        if n%H.train_log_every==0 or n<3: log(f"step:{n}/{H.iterations} loss:{l:.4f} t:{t:.0f}ms step_avg:{t/n:.1f}ms")
        stop=ar(torch.tensor(float(t>1e3*H.max_wallclock_seconds))).item()
    if n<H.iterations: log(f"stopping_early: wallclock_cap train_time:{ms:.0f}ms step:{n}/{H.iterations}")
    fn="final_model.ternary.ptz"
    if R==0:
        z,nt,bt,nf,bf=pack(m); open(fn,"wb").write(z); c=len(open(__file__,"rb").read()); s=os.path.getsize(fn)+c
        log(f"artifact:{s/1e6:.2f}MB ternary:{nt}({bt}B) fp:{nf}({bf}B) code:{c}"); log(f"budget:{s}/16000000 ({s/1e6:.2f}/16.00MB) {'FITS' if s<=16e6 else 'TOO LARGE'}")
    if W>1: dist.barrier()
    unpack(m,open(fn,"rb").read())
    with Plain():
        l,b=score(m,va,TB); log(f"final_ternary_roundtrip val_loss:{l:.4f} val_bpb:{b:.4f}"); T_=1.
        if H.temp_scaling:
            t0=time.perf_counter(); T_=min((.85,.9,.95,1.,1.05,1.1),key=lambda T_: score(m,tr[-8193:],TB,temp=T_)[0]); log(f"temp_scaling optimal_T:{T_:.2f} eval_time:{1e3*(time.perf_counter()-t0):.0f}ms")
        if H.sliding_eval:
            t0=time.perf_counter(); l,b=score(m,va,TB,H.sliding_eval_stride,T_); log(f"final_sliding val_loss:{l:.8f} val_bpb:{b:.8f} (stride={H.sliding_eval_stride}, T={T_:.2f}) eval_time:{1e3*(time.perf_counter()-t0):.0f}ms")
    if W>1: dist.destroy_process_group()
if __name__=="__main__": main()
