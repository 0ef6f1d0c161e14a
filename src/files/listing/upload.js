{let F=$("#u")[0],Y=document.body.classList,S=[],W=new Set,M=new Map,V=0,G=0,H=0,Z=0
F.firstElementChild.insertAdjacentHTML("afterend",'<label>A whole folder <input type=file webkitdirectory></label>')
F.lastElementChild.textContent="Make"
F.insertAdjacentHTML("beforeend",(F.className?"<button type=button aria-pressed=false>Delete …</button>":"")+"<span>Or drop files on this page.</span>")
F.insertAdjacentHTML("afterend","<output></output><ul></ul>")
let[I,J]=F.querySelectorAll("input"),X=F.querySelector("[aria-pressed]"),T=F.nextSibling,U=T.nextSibling,
url=p=>"./"+p.split("/").map(encodeURIComponent).join("/"),
say=()=>T.textContent=`${H.toLocaleString()} of ${G.toLocaleString()} stored`+(Z?`, ${Z.toLocaleString()} not`:""),
row=(p,...more)=>{let l=document.createElement("li"),b=document.createElement("b")
b.textContent=p
l.append(b,...more)
U.append(l)
return l},
ask=(m,u,b,l)=>new Promise(t=>{
let x=new XMLHttpRequest,end=v=>{W.delete(x);t(v)}
W.add(x)
x.onload=()=>end(x.status<300||m=="MKCOL"&&x.status==405&&b?"":new DOMParser().parseFromString(x.responseText.replace(/<style[^]*<.style>/,""),"text/html").querySelector("p")?.textContent||"Status "+x.status)
x.onerror=()=>end("The connection broke.")
x.onabort=()=>end("Cancelled.")
if(l){
let g=document.createElement("progress"),c=document.createElement("button")
g.ariaLabel=l.textContent
c.textContent="Cancel"
c.ariaLabel="Cancel "+l.textContent
c.onclick=()=>x.abort()
x.upload.onprogress=e=>{g.max=e.total||1;g.value=e.loaded}
l.append(g,c)}
try{x.open(m,u())}catch{return end("That is no name.")}
x.setRequestHeader("Accept","text/html")
x.send(m=="PUT"?b:null)}),
up=p=>p.slice(0,Math.max(0,p.lastIndexOf("/"))),
dir=p=>{if(p&&!M.has(p))M.set(p,(async()=>await dir(up(p))||ask("MKCOL",()=>url(p),1))())
return M.get(p)},
done=(p,r)=>{if(r){Z++;row(p,r)}else H++
say()},
add=(p,f)=>{G++;S.push([p,f])},
lane=async()=>{V++
for(let j;j=S.shift();){
let[p,f]=j,r=await dir(f?up(p):p)
if(f&&!r){let l=row(p)
r=await ask("PUT",()=>url(p),f,l)
l.remove()}
done(p,r)}
if(!--V&&!Z)location.reload()},
go=()=>{say()
for(let n=V;n<3&&n-V<S.length;n++)lane()},
walk=async(e,b)=>{let p=b+e.name
if(!e.isDirectory)return add(p,e.file?await new Promise((t,n)=>e.file(t,n)):e)
add(p)
let r=e.createReader(),c
while((c=await new Promise((t,n)=>r.readEntries(t,n))).length)for(let one of c)await walk(one,p+"/")}
I.onchange=J.onchange=e=>{for(let f of e.target.files)add(f.webkitRelativePath||f.name,f)
go()
e.target.value=""}
F.onsubmit=async e=>{e.preventDefault()
let n=F.folder.value.trim()
if(!n)return
G++
done(n,await ask("MKCOL",()=>url(n)))
if(!Z&&!V)location.reload()}
ondragover=e=>{if(e.dataTransfer.types.includes("Files")){e.preventDefault();Y.add("o")}}
ondragleave=e=>e.relatedTarget||Y.remove("o")
ondrop=async e=>{Y.remove("o")
let all=[...e.dataTransfer.items].filter(i=>i.kind=="file").map(i=>i.webkitGetAsEntry()||i.getAsFile())
if(!all.length)return
e.preventDefault()
for(let one of all)await walk(one,"")
go()}
onbeforeunload=e=>{if(W.size)e.preventDefault()}
if(X){X.onclick=()=>{X.ariaPressed=Y.toggle("x")
T.textContent=X.ariaPressed=="true"?"Choose what to delete.":""}
$("table")[0].addEventListener("click",async e=>{let a=e.target.closest("td a"),n=a?.textContent
if(!a||X.ariaPressed!="true"||a.closest("#up"))return
e.preventDefault()
if(!confirm(`Delete ${n}?`))return
let r=await ask("DELETE",()=>a.pathname)
T.textContent=r?`${n}: ${r}`:n+" is deleted."
if(!r)a.closest("tr").remove()})}}