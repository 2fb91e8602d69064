import json, math, sys, time
from itertools import product
import torch
from torch import Tensor
from benchmarks.loop import Ascent, ascend
from vae_core.closed_form import enumerated_log_evidence
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.model import machine
from vae_core.training import generator_for
SIDE=4
def bars():
    images={}
    for vertical, weight in ((True,2/3),(False,1/3)):
        for code in product((0.,1.),repeat=SIDE):
            row=torch.tensor(code).expand(SIDE,SIDE)
            image=row if vertical else row.mT
            key=tuple(image.flatten().tolist())
            on=int(sum(code))
            images[key]=images.get(key,0)+weight*0.2**on*0.8**(SIDE-on)
    return torch.tensor(list(images)), torch.tensor(list(images.values()),dtype=torch.float64)
x,p=bars()
H=-(p*p.log()).sum().item()
torch.set_num_threads(1)
def run(name,bound,draws,cfg,lr,steps,batch,seed,opt='adam',sched='cosine'):
    cpu=torch.device('cpu')
    g=generator_for(cpu,seed,1)
    m=machine(cfg,(1,SIDE,SIDE),generator=generator_for(cpu,seed,0))
    t=time.time(); out=[]
    for s in ascend(m,lambda g:x[torch.multinomial(p,batch,True,generator=g)],Ascent(ObjectiveConfig(bound=bound,estimator=name,draws=draws),opt,lr,sched,steps),generator=g):
        if s%(steps//5)==0:
            out.append(round(-H-(p*enumerated_log_evidence(m,x).double()).sum().item(),4))
    print(name,bound,draws,cfg.below,cfg.latent,cfg.widths,cfg.inner_widths,lr,steps,batch,seed,out,round(time.time()-t,1),flush=True)
if __name__=='__main__':
    print(len(x),p.sum(),H)
    A=ModelConfig(widths=(32,),activation='tanh',latent=5,posterior='bernoulli',prior='bernoulli')
    B=ModelConfig(widths=(32,),activation='tanh',latent=8,posterior='bernoulli',prior='bernoulli')
    C=ModelConfig(widths=(),activation='tanh',latent=1,below=(8,),posterior='bernoulli',prior='bernoulli')
    D=ModelConfig(widths=(32,),activation='tanh',latent=4,below=(8,),inner_widths=(16,),posterior='bernoulli',prior='bernoulli')
    for cfg in (A,B,C,D):
        for e in (('wake_sleep','elbo',1),('reweighted_wake_sleep','iwae',10),('score_function_loo','elbo',5),('score_function_loo','iwae',10),('score_function','elbo',1)):
            run(*e,cfg,5e-3,5000,200,0)
