let $=(s,r=document)=>[...r.querySelectorAll(s)],
el=(t,p,...k)=>{let e=Object.assign(document.createElement(t),p)
e.append(...k.flat())
return e},
put=(e,t)=>e.textContent==t||(e.textContent=t),
num=n=>n.toLocaleString("en"),
many=(n,w)=>num(n)+" "+w+(n==1?"":"s"),
size=n=>{let u=0
for(;Math.round(n)>1023&&u<6;u++)n/=1024
return(u&&n<9.95?n.toFixed(1):Math.round(n))+" "+(u?"KMGTPE"[u-1]+"iB":"B")},
local=t=>new Date(t).toLocaleString("sv").slice(0,16),
safe=x=>x.replace(/[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,"\ufffd"),
plain=x=>{try{x=decodeURIComponent(x)}catch{}
return safe(x)},
rich=(s,...k)=>s.flatMap((t,i)=>i<k.length?[t,el("bdi",0,safe(k[i]))]:t),
names=u=>fetch(u+"?format=json",{headers:json}).then(r=>listed(r)&&r.json()),
listed=r=>r.ok&&r.headers.has("listing-complete"),
P=t=>t.normalize().toLowerCase(),
words=()=>P(q.value).split(/\s+/).filter(w=>w),
here=new URLSearchParams(location.search),
image=a=>/\.(png|jpe?g|gif|webp|avif|svg|bmp)$/i.test(a.pathname),
T=$("table")[0],N=$("p")[0],R=$("#r")[0],hook,B=[],K,G=here.get("view")=="grid",
name=a=>a.textContent,
tail=a=>name(a).endsWith("/")?"/":"",
sums=a=>tail(a)&&!a.closest(".w"),
json={accept:"application/json"},
prevent=e=>e.preventDefault(),
parse=t=>new DOMParser().parseFromString(t,"text/html"),
links=()=>$("tbody:not(#up) td:first-child a",T),
near=b=>{
for(let t of $("time:not([title])",b)){
let c=t.parentNode.previousSibling
t.title=t.dateTime
put(t,local(t.title))
if(c.title)c.title=num(+c.title)+" bytes"}
if(G)for(let a of $("td a",b))image(a)&&!a.firstElementChild&&a.prepend(el("img",{alt:"",loading:"lazy",draggable:false,src:a.href,onerror:e=>e.target.remove()}))
hook?.(b)
put($("i")[0],"local")},
O=new IntersectionObserver(E=>E.map(e=>e.isIntersecting&&(G||O.unobserve(e.target),near(e.target))),{rootMargin:"99%"}),
q=el("input",{type:"search",name:"q",autocomplete:"off",placeholder:"Filter (/)",value:here.get("q")||""}),
reset=()=>{q.value=""
q.oninput()},
F=el("output"),
tool=(t,onclick,className="",more)=>el("button",{type:"button",onclick,className,...more},t),
keep=()=>{let u=new URL(location),s=u.searchParams
for(let[k,v]of[["q",q.value],["view",G&&"grid"]])v?s.set(k,v):s.delete(k)
u.href==location.href||history.replaceState(null,"",u)},
filter=()=>{
let w=words(),n=0
for(let[b,R]of K??=B.map(b=>[b,[...b.rows].map(r=>[r,P(name(r.firstChild))])])){
let m=0
for(let r of R){
let o=!w.every(x=>r[1].includes(x))
if(o!=r[0].hidden)r[0].hidden=o
m+=!o}
b.hidden=!m
b.style.containIntrinsicSize=G?"":`calc(${m}*var(--h))`
n+=m}
W.hidden=!w.length
put(F,w.length?num(n)+" shown":"")},
fresh=()=>{B=$("tbody:not(#up)",T)
K=null
O.disconnect()
B.map(b=>O.observe(b))
let a=links()
sizes.hidden=find.hidden=!a.some(sums)
grid.hidden=!a.some(image)
words().length&&filter()
readme()},
count=()=>{let a=links(),d=a.filter(tail).length,f=a.length-d
put($("#n")[0],[d&&many(d,"folder"),f&&many(f,"file")].filter(x=>x).join(", ")||"This folder is empty.")},
walk=async(start,each,going)=>{let Q=[start],seen=new Set(Q),n=0,whole=1,read=async u=>{n++
let l=await names(u).catch(()=>0)
if(!l||l.length>99999)whole=0
for(let e of l||[]){let d=e.kind=="folder",h=u+(e.href||encodeURIComponent(e.name))+(d?"/":"")
if(seen.has(h))continue
each(e,h,n)
if(d&&!e.link)if(h.split("/").length<64)seen.add(h),Q.push(h);else whole=0}}
while(Q.length&&n<2000&&going())await Promise.all(Q.splice(0,4).map(read))
return whole&&!Q.length},
S=el("section",{hidden:true}),
readme=async()=>{try{
let mine=S.mine={},a=links().find(a=>/^readme(\.(md|markdown|txt))?$/i.test(name(a))),n=a&&+a.parentNode.nextSibling.title.replace(/\D/g,""),r=n&&n<65537?await fetch(a.href+"?format=html",{cache:"no-cache"}):{ok:1},t=r.url?await r.text():"",first=!S.t
if(mine!=S.mine||!r.ok||S.t==a+t)return
S.t=a+t
S.hidden=!t
S.replaceChildren()
if(!t)return
S.ariaLabel=name(a)
S.append(el("h2",0,name(a)),/profile=rendered/.test(r.headers.get("content-type"))?el("article",0,...parse(t).body.childNodes):el("pre",0,t))
for(let p of $("pre,article",S))if(p.scrollWidth>p.clientWidth)p.tabIndex=0
first&&(performance.navigation.type||scrollY||location.hash&&location.replace(location.hash))}catch{}},
job=0,
search=async()=>{let w=words(),mine=++job,hits=0,list=el("ol"),said=el("output"),stop=tool("Stop",()=>{job++
stop.remove()})
if(!w.length)return q.focus()
R.replaceChildren(el("h2",0,rich`Names with “${q.value.trim()}” in here and below`),el("p",0,said,stop,tool("Close",()=>{job++
R.replaceChildren()
q.focus()})),list)
let all=await walk(location.pathname,(e,h,n)=>{if(mine!=job||hits>999)return
if(w.every(x=>P(e.name).includes(x))){hits++
list.append(el("li",0,el("a",{href:h},h.slice(location.pathname.length).split("/").map(plain).join("/"))))}
put(said,`${num(hits)} found, ${many(n,"folder")} read`)},()=>mine==job&&hits<1000)
stop.remove()
said.textContent+=all?".":". There may be more: not every folder was read."},
sum=async()=>{let mine=++job
put(sizes,"Stop")
sizes.onclick=()=>job++
for(let a of links().filter(sums)){
let bytes=0,c=a.parentNode.nextSibling,all=await walk(a.pathname,e=>{bytes+=e.link?0:e.size||0
put(c,size(bytes)+" …")},()=>mine==job)
put(c,(all?"":"≥ ")+size(bytes))
c.title=num(bytes)+" bytes"
if(mine!=job)break}
put(sizes,"Folder sizes")
sizes.onclick=sum},
find=tool("Search subfolders",search),
sizes=tool("Folder sizes",sum),
grid=tool("Pictures",()=>{G=!G
show()
keep()
fresh()}),
W=el("div",{className:"f",hidden:true},F,find),
show=()=>{T.classList.toggle("g",G)
grid.ariaPressed=G
if(!G)for(let i of $("td img",T))i.remove()}
q.setAttribute("form","f")
N.append(grid,sizes,q)
N.after(W)
$("main")[0].append(S)
show()
fresh()
onbeforeprint=()=>B.map(near)
q.oninput=()=>{filter()
keep()}
q.onkeydown=e=>{if(e.key=="Enter"){prevent(e)
find.hidden||search()}
e.key=="Escape"&&reset()}
$("#f")[0].onformdata=e=>{let d=e.formData
q.value||d.delete("q")
G&&d.set("view","grid")}
onkeydown=e=>{if(e.key=="/"&&!e.ctrlKey&&!e.metaKey&&!e.target.matches("input,textarea,select"))prevent(e),q.focus()}
