let $=s=>document.querySelectorAll(s),B=[...$("tbody:not(#up)")],K
$("p")[0].innerHTML+='<output></output><input type=search placeholder="Filter (/)">'
let q=$("input")[0],P=t=>t.normalize().toLowerCase(),O=new IntersectionObserver(E=>E.map(e=>e.isIntersecting&&L(e.target)),{rootMargin:"99%"}),L=b=>{
O.unobserve(b)
for(let t of b.querySelectorAll("time:not([title])")){
let c=t.parentNode.previousSibling
t.title=t.dateTime
t.textContent=new Date(t.title).toLocaleString("sv").slice(0,16)
if(c.title)c.title=(+c.title).toLocaleString()+" bytes"}
$("i")[0].textContent="local"}
B.map(b=>O.observe(b))
onbeforeprint=()=>B.map(L)
q.onfocus=q.oninput=()=>{
let w=P(q.value).split(/\s+/),n=0
for(let[b,R]of K??=B.map(b=>[b,[...b.rows].map(r=>[r,P(r.firstChild.textContent)])])){
let m=0
for(let r of R){
let o=!w.every(x=>r[1].includes(x))
if(o^r[2])r[0].hidden=r[2]=o
m+=!o}
b.hidden=!m
b.style.containIntrinsicSize=m*(innerWidth>639?36:60)+"px"
n+=m}
$("output")[0].textContent=q.value.trim()&&n.toLocaleString()+" shown"}
onkeydown=e=>{
if(e.key=="/"&&e.target!=q)e.preventDefault(),q.focus()
if(e.key=="Escape"&&e.target==q)q.value="",q.oninput()}