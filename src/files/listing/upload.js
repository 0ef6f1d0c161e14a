{let U=$("#u")[0],D=U.dataset,box="w"in D,lanes=Math.min(5,+D.e||1),
on=addEventListener,active=()=>document.activeElement,Q=[],first=0,live=new Set,made=new Map,gone=new Set,hidden=0,lot={},turn=Promise.resolve(),flow=[],shown=0,clock,undo,shut,last,drag,due=0,asked=0,loaded=0,sent=0,
skips=p=>(/(^|\/)(\.DS_Store|\._[^/]*|__MACOSX|Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN)(\/|$)/i.test(p)||!("h"in D)&&/(^|\/)\./.test(p))&&++hidden,
body=document.body,now=Date.now,{min,max,floor,ceil}=Math,
url=p=>location.pathname+p.split("/").map(x=>encodeURIComponent(x).replace(/[!'()*]/g,c=>c=="*"?"%2A":escape(c))).join("/"),
up=p=>p.replace(/\/?[^/]*$/,""),
text=p=>plain(/([^/]*)\/?$/.exec(p.pathname||p)[1]||"/"),
why=(t,s)=>{try{let j=JSON.parse(t)
return j.detail||j.title}catch{return t.length<300&&!t.includes("<")&&t.trim()||"The server responded with "+s+"."}},
busy=s=>s==503||s==429,
locked="This computer can't read the file.",
M=el("output",{id:"m"}),
say=(t,...k)=>{let f=M.contains(active())
M.replaceChildren(...t?[el("span",0,t)]:[],...k)
f&&!k.length&&U.firstChild.focus()},
fail=(p,t)=>say(rich`${text(p)}: ${t}`),
call=async(method,u,headers,keepalive,ok)=>{try{
let r=await fetch(u,{method,headers:{...json,...headers},keepalive}),t=await r.text()
r.ok&&ok?.(r)
return r.ok?"":method=="DELETE"&&r.status==412?"The file has changed, so it was not deleted.":why(t,r.status)}catch{return"The server can't be reached."}},
way=(from,to)=>{let a=from.split("/"),b=to.split("/"),i=0
while(i<a.length-1&&i<b.length-1&&a[i]==b[i])i++
return"../".repeat(a.length-1-i)+b.slice(i).join("/")},
dialog=(title,yes,...k)=>shut=new Promise(then=>{
let h=el("h2",0,title),d=el("dialog",{ariaLabel:h.textContent,onclose:()=>{d.remove()
then(d.returnValue)}},el("form",{method:"dialog"},h,k,el("menu",0,yes.map(([v,t],i)=>el("button",{value:v,className:i?"":"p"},t)),yes[1]?"":tool("Cancel",()=>d.close("")))))
body.append(d)
d.showModal()
let i=$("[required]",d)[0]
if(i){let dot=i.value.lastIndexOf(".")
i.setSelectionRange(0,dot>0?dot:i.value.length)}}),
legal=n=>!/^\.{0,2}$|[\/\\]/.test(n=n.trim())&&n,
ask=async(title,label,yes,value="")=>{let i=el("input",{value,required:true,autocomplete:"off"})
i.oninput=()=>i.setCustomValidity(legal(i.value)?"":"A name can't be empty, . or .., or contain a slash.")
return await dialog(title,[["y",yes]],el("label",0,label,i))&&legal(i.value)},
renew=async(focus,other)=>{due=0
if(box)return
let mine=++asked,t=await fetch(location.href,{headers:{accept:"text/html"}}).then(r=>listed(r)&&!r.redirected?r.text():"").catch(()=>0)
if(mine!=asked)return
loaded=mine
if(drag)return due=1
if(t===0)setTimeout(()=>{due=1
pump()},5000)
let at=focus||active().closest("tr")?.querySelector("a")?.pathname,d=parse(t)
if(!t)return
for(let a of $("td:first-child a",d))if(gone.has(a.pathname))a.closest("tr").remove()
T.replaceChildren(...$("table",d)[0].children)
fresh()
count()
if(at){let a=row(at)||row(other)||U.firstChild
a.closest("[hidden]")&&reset()
a.focus({preventScroll:!focus})}},
row=p=>links().find(a=>a.pathname==p),
next=a=>{let all=links().filter(a=>!a.closest("[hidden]")),i=all.indexOf(a)
return all[i+1]||all[i-1]},
flush=()=>{let u=undo
undo=0
if(u){clearTimeout(u.timer)
last=Promise.all([last,u.run()])}
return last},

send=(j,method,u,data,headers)=>new Promise(then=>{
let x=j.x=new XMLHttpRequest,head=n=>x.getResponseHeader(n),base=j.at
x.onloadend=()=>{let{status}=x
j.x=0
if(status>299)j.at=base
then({status,text:x.responseText,after:+head("retry-after"),range:head("range"),to:head("location")})}
x.upload.onprogress=e=>{j.last=now()
let at=min(j.size,base+e.loaded)
for(let m of[flow,j.speed])m.push([j.last,at-j.at])
j.at=at}
j.last=now()+27e4
x.open(method,u)
for(let h in headers={...json,...headers})x.setRequestHeader(h,headers[h])
x.send(data)}),
rate=m=>{while(m.length&&m[0][0]<now()-5000)m.shift()
return m.length?m.reduce((s,x)=>s+x[1],0)*1000/max(1000,now()-m[0][0]):0},
folder=p=>{if(!p)return""
if(!made.has(p))made.set(p,(async()=>{let bad=await folder(up(p))
if(bad){bad.after!=null&&made.delete(p)
return bad}
let r=await send({speed:[],size:0,at:0},"MKCOL",url(p))
if(r.status&&r.status<300||r.status==405)return""
if(r.status&&!busy(r.status))return why(r.text,r.status)
made.delete(p)
return r})())
return made.get(p)},
resolve=(j,mine)=>turn=turn.then(async()=>{await shut
if(j.lot.choice||j.turn!=mine)return j.lot.choice
let time=row(url(j.path))?.closest("tr").querySelector("time"),all=el("input",{type:"checkbox",className:"c"}),v=await dialog(rich`“${j.path}” already exists.`,[["keep","Keep both"],...(D.o=="replace"?[["force","Replace"]]:[]),["skip","Skip"]],time?el("p",0,`There: ${time.parentNode.previousSibling.textContent}, ${local(time.dateTime)}. Yours: ${size(j.size)}, ${local(j.file.lastModified)}.`):"",el("label",0,all," Do the same for all names that already exist"))
if(all.checked)j.lot.choice=v
return v||"skip"}),
store=async(j,mine)=>{
let r=await folder(j.file?up(j.path):j.path)
if(r||j.turn!=mine)return r
if(!j.file)return{status:201}
let big="r"in D&&j.size>1<<20,at=()=>url(j.path)+(j.how=="keep"?"?overwrite=rename":"")+("r"in D?(j.how=="keep"?"&":"?")+"upload="+(j.key||=crypto.getRandomValues(new Uint8Array(16)).join("-")):"")
let ask=()=>send(j,"PUT",at(),null,{"content-range":"bytes */"+j.size})
if(j.key){
let a=await ask()
if(a.status==404||a.status==409)j.begun=j.key=0
else if(a.status!=202)return a
j.at=a.status==202&&a.range?+a.range.split("-")[1]+1:0
if(j.turn!=mine)return}
else j.at=0
let from=j.at
if(big)j.begun=1
r=await send(j,"PUT",at(),from?j.file.slice(from):j.file,{...(big&&{"content-range":`bytes ${from}-${j.size-1}/${j.size}`}),...(D.o!="rename"&&!j.how&&{"if-none-match":"*"})})
if(r.status==412&&j.key&&j.turn==mine){
let a=await ask()
if(a.status==201)return a}
return r},
run=async j=>{
live.add(j)
j.state="send"
j.said=""
draw(j)
let mine=++j.turn,r=await store(j,mine),later=(s,t)=>{j.when=now()+s*1000
j.state="wait"
j.said=t
setTimeout(pump,s*1000+50)}
if(j.turn!=mine)return
let{status}=r,t=why(r.text||"",status)
if(r.trim)bad(j,r)
else if(status&&status<300)done(j,r.to)
else if(status==412){
let c=await resolve(j,mine)
if(j.turn!=mine)return
if(c=="skip")j.state=c,j.said="Skipped: that name already exists."
else{j.how=c
j.state="wait"
j.begun=j.key=j.when=0}}
else if(busy(status)){
lanes=max(1,min(lanes,live.size-1))
let s=max(1,r.after||10)
s>300?bad(j,t):later(s,status==503?"The server is busy. Trying again.":t)}
else if(!status){
let lost=await j.file?.slice(-1).arrayBuffer().then(()=>0,()=>1),there=await fetch(location.href,{method:"HEAD"}).then(()=>1,()=>0),further=j.at>(j.best||0)
if(j.turn!=mine)return
j.best=j.at
j.tries=further?0:(j.tries||0)+there
if(lost)bad(j,locked)
else if(j.tries>4)bad(j,"The server closed the connection.")
else later(there?1:5,there?"Connection lost. Trying again.":"Waiting for a network connection.")}
else if([404,409,500,502,504].includes(status)&&j.begun&&++j.errors<4)later(2,"Trying again.")
else{bad(j,t)
j.never=/400|413/.test(status)}
live.delete(j)
draw(j)
pump()},
bad=(j,t)=>{j.state="fail"
j.said=t},
done=(j,to)=>{j.state="done"
j.at=j.size
j.said=!to||text(to)==safe(j.path.split("/").pop())?"Stored":"Stored as "+text(to)
due=1},
failed=j=>j.state=="fail"&&!j.never,
over=j=>"done fail skip stop".includes(j.state),
pump=()=>{
while(Q[first]&&over(Q[first]))first++
for(let i=first;i<Q.length&&live.size<lanes;i++)if(Q[i].state=="wait"&&!(Q[i].when>now()))run(Q[i])
if(!clock&&Q.length)clock=setInterval(tick,500)
tick()},
set=(s,which)=>{for(let j of Q)if(which(j)){j.state=s
j.said={stop:"Cancelled",hold:"Paused"}[s]
j.when=j.tries=j.errors=first=0
j.turn++
live.delete(j)
if(j.x){due=1
j.x.abort()}
s=="stop"&&j.key&&j.begun&&call("DELETE",url(j.path)+"?upload="+j.key)
draw(j)}
s=="wait"&&made.clear()
pump()},
draw=j=>{
let s=j.state,a=active()
if(s=="done"&&Q.length>50){if(j.row){j.row.remove()
shown--
j.row.contains(a)&&hold.focus()}
j.row=0
return}
if(!j.row){
if(shown>(s=="fail"?499:49)&&!live.has(j))return
shown++
let p=safe(j.path)
j.bar=el("progress",{ariaLabel:p,max:j.size||1})
j.info=el("small")
j.buttons=[["Pause","hold","send wait"],["Resume","wait","hold"],["Retry","wait","fail"],["Cancel","stop","send wait hold"]].map(([t,s,when])=>tool(t,()=>set(s,x=>x==j),"",{when,ariaLabel:t+" "+p}))
j.row=el("li",0,el("b",0,el("bdi",0,p)),j.bar,j.info,j.buttons)
list.append(j.row)}
let v=rate(j.speed)
j.bar.value=j.size?j.at:+(s=="done")
j.bar.hidden=over(j)
put(j.info,j.said||(j.x?`${floor(100*j.at/(j.size||1))} %`+(v?` · ${size(v)}/s`:""):"Waiting"))
j.row.className=s=="fail"?"bad":""
for(let b of j.buttons)b.hidden=j.never||!b.when.includes(s)
stay(a)},
stay=a=>{if(queue.contains(a)&&(a.hidden||queue.hidden))(queue.hidden?U.firstChild:$("button:not([hidden])",a.parentNode)[0]||$("#q button:not([hidden])")[0]).focus()},
tick=()=>{
let a=active(),n={},bytes=0,total=0,ended=0
for(let j of Q){n[j.state]=-~n[j.state]
ended+=over(j)
if(!over(j)||j.state=="done")bytes+=j.at,total+=j.size}
let busy=Q.length-ended,going=busy-(n.hold||0),v=[...live].some(j=>j.x)&&rate(flow)
for(let j of live){draw(j)
if(j.x&&j.at<j.size&&now()-j.last>30000)j.x.abort()}
if(busy)for(let i=first;i<Q.length&&shown<50;i++)Q[i].row||draw(Q[i])
queue.hidden=!Q.length&&!hidden
title.ariaLive=rest.ariaLive=busy?"off":"polite"
put(title,busy?`${going?"Uploading":"Paused"}: ${num(n.done||0)} of ${many(Q.length,"file")}`:`${many(n.done||0,"file")} uploaded`)
put(rest,[total&&busy&&`${size(bytes)} of ${size(total)}`,v&&size(v)+"/s",v&&left((total-bytes)/v),n.fail&&num(n.fail)+" failed",n.skip&&num(n.skip)+" skipped",hidden&&many(hidden,"hidden or system item")+" left out"].filter(x=>x).map(x=>x.replaceAll(" ","\xa0")).join(" · "))
bar.max=total||1
bar.value=bytes
bar.hidden=hold.hidden=stop.hidden=!busy
put(hold,going?"Pause all":"Resume all")
retry.hidden=!Q.some(failed)
close.hidden=busy
list.tabIndex=list.scrollHeight>list.clientHeight?0:-1
stay(a)
if(!busy||now()-(tick.at||0)>5000){due&&asked==loaded&&!drag&&renew()
tick.at=now()}
busy||due||(clock=clearInterval(clock))},
left=s=>(s<60?"less than a minute":s<3600?many(ceil(s/60),"minute"):many(ceil(s/3600),"hour"))+" left",
add=(path,file,t)=>{if(skips(path))return
let j={path,file,lot,size:file?.size||0,at:0,turn:0,errors:0,state:"wait",speed:[]}
Q.push(j)
if(D.m&&j.size>+D.m)t=`Too large: at most ${size(+D.m)}.`
if(t)bad(j,t),j.never=1,draw(j)},
begin=async()=>{say()
q.value&&reset()
lot={}
await flush()
made.clear()
pump()},
addAll=all=>{for(let f of all)add(f.webkitRelativePath||f.name,f)
begin()},
walkIn=async(e,b)=>{let p=b+e.name
if(skips(p))return
try{
if(!e.isDirectory)return add(p,e.file?await new Promise((t,n)=>e.file(t,n)):e)
let r=e.createReader(),c,any
while((c=await new Promise((t,n)=>r.readEntries(t,n))).length)for(let one of c){any=1
await walkIn(one,p+"/")}
any||add(p)}catch{add(p,0,locked)}},
title=el("b"),rest=el("small"),bar=el("progress",{ariaLabel:"All uploads"}),list=el("ul"),
going=j=>j.state=="send"||j.state=="wait",
hold=tool("Pause all",()=>Q.some(going)?set("hold",going):set("wait",j=>j.state=="hold")),
stop=tool("Cancel all",()=>set("stop",j=>!over(j))),
retry=tool("Retry all",()=>set("wait",failed)),
close=tool("Close",()=>{Q=[]
first=shown=hidden=0
list.replaceChildren()
tick()}),
queue=el("section",{id:"q",ariaLabel:"Uploads",hidden:true},el("div",0,title,rest,hold,stop,retry,close),bar,list),
pick=U.file,whole=el("input",{type:"file",hidden:true,ariaLabel:"A whole folder"}),
create=async()=>{let n=await ask("New folder","Name ","Create")
if(!n)return
let bad=await change(()=>call("MKCOL",url(n)))
if(bad)return fail(url(n),bad)
say(rich`Created the folder ${n}.`)
renew(url(n)+"/")},
give=(from,to,fields,ok)=>call("MOVE",from,{destination:way(from,to),overwrite:"F",...fields},0,ok),
change=async f=>{sent++
await flush()
let bad=await f()
sent--
return bad},
move=async(from,to,t,near)=>{let tag,bad=await change(()=>give(from,to,0,r=>tag=r.headers.get("etag")))
if(bad)return fail(from,bad)
say(t,tool("Undo",async()=>{let bad=await change(()=>give(to,from,tag&&{"if-match":tag}))
bad?fail(to,bad):say("Undone.")
renew(from)}))
renew(to,near)},
rename=async a=>{let old=text(a),n=await ask(rich`Rename “${old}”`,"New name ","Rename",old)
if(n&&n!=old)move(a.pathname,url(n)+tail(a),rich`“${old}” is now called “${n}”. `)},
into=(a,to)=>move(a.pathname,to+a.pathname.match(/[^/]+\/?$/),rich`“${text(a)}” is now in “${text(to)}”. `,next(a)?.pathname),
carry=async a=>{let s=el("select",0,[...$("nav a"),...links().filter(x=>x.pathname!=a.pathname&&tail(x)&&!x.closest("#by"))].map(x=>el("option",{value:x.pathname},name(x))))
if(!s.length)return say("There is no other folder here. Create one first.")
if(await dialog(rich`Move “${text(a)}”`,[["y","Move"]],el("label",0,"To the folder ",s)))into(a,s.value)},
remove=async a=>{let n=text(a),u=a.pathname,all
if(tail(a)&&!a.parentNode.nextSibling.className){if((await names(u).catch(()=>[])||[0]).length){
if(!("t"in D))return fail(u,"The folder is not empty. Delete its contents first.")
if(!await dialog(rich`Delete “${n}” and everything in it?`,[["y","Delete"]]))return
all=1}}
a=row(u)
if(!a)return
flush()
gone.add(u)
let near=next(a)
a.closest("tr").remove()
fresh()
count()
;(near||U.firstChild).focus()
let tag,look=o=>fetch(u,{cache:"no-store",...o}).then(async r=>{await r.text()
return r.headers.get("content-encoding")?0:r.headers.get("etag")}).catch(()=>0)
tail(a)||look({method:"HEAD"}).then(async t=>tag=t||await look({headers:{range:"bytes=0-0"}}))
let t=rich`Deleted “${n}”. `,back=tool("Undo",()=>{clearTimeout(undo.timer)
undo=0
gone.delete(u)
say("Undone.")
renew(u)})
undo={timer:setTimeout(flush,8000),run:async()=>{back.isConnected&&say(t)
let bad=await call("DELETE",u,{depth:all?"infinity":"0",...tag&&{"if-match":tag}},true)
gone.delete(u)
if(bad)fail(u,bad)
renew(bad&&u)}}
say(t,back)},
chosen,
menu=el("div",{id:"k",popover:"auto",role:"menu",onkeydown:e=>{let k=[...menu.children],i=k.indexOf(active()),n={ArrowDown:i+1,ArrowUp:i-1,Home:0,End:-1}[e.key]
e.key=="Tab"&&menu.hidePopover()
if(n==null)return
prevent(e)
k.at(n%k.length).focus()}},[["Rename …",rename],["Move …",carry],["Delete",remove]].map(([t,f])=>tool(t,()=>{menu.hidePopover()
f(chosen)},"",{role:"menuitem"})))
U.replaceChildren(tool("Upload files",()=>pick.click(),"p"),"webkitdirectory"in whole?tool("Upload a folder",()=>whole.click()):"",tool("New folder",create),el("span",0,"or drop files on this page"),pick,whole)
pick.hidden=true
q.hidden=box
pick.ariaLabel="Files"
whole.webkitdirectory=true
U.after(M,queue,menu)
new ResizeObserver(()=>T.style.setProperty("--m",M.offsetHeight+"px")).observe(M)
pick.onchange=whole.onchange=e=>{addAll(e.target.files)
e.target.value=""}
let veil=o=>body.classList.toggle("o",o),has=e=>e.dataTransfer?.types.includes("Files")&&!drag
on("dragover",e=>has(e)&&(prevent(e),veil(1)))
on("dragleave",e=>e.relatedTarget||veil(0))
on("drop",async e=>{veil(0)
if(!has(e))return
prevent(e)
let all=[...e.dataTransfer.items].filter(i=>i.kind=="file").map(i=>i.webkitGetAsEntry()||i.getAsFile())
for(let one of all)one&&await walkIn(one,"")
begin()})
on("paste",e=>{let all=e.clipboardData.files
all.length&&!e.target.matches("input")&&addAll(all)})
on("online",()=>{for(let j of Q)if(j.state=="wait")j.when=0
pump()})
on("keydown",e=>{e.key=="z"&&(e.ctrlKey||e.metaKey)&&!e.target.matches("input")&&$("#m button")[0]?.click()})
on("visibilitychange",()=>document.hidden||pump())
let calm,work=()=>sent||Q.some(j=>!over(j))
on("beforeunload",e=>{calm||work()&&prevent(e)
calm=0
flush()})
on("pagehide",flush)
on("pageshow",e=>e.persisted|performance.navigation.type>1&&renew())
on("submit",async e=>{let f=e.target,w=f.className=="out"&&work()
calm=e.submitter?.name=="archive"
flush()
if(w){prevent(e)
e.stopPropagation()
if(await dialog("Your changes are not finished",[["y","Log out anyway"]])){stop.click()
f.requestSubmit()}}},1)
if("d"in D&&!box){
T.classList.add("k")
hook=b=>{if(b.id!="by")for(let a of $("td:first-child a",b))if(!a.parentNode.children[1]){let m=tool("⋯",()=>{chosen=a
let r=m.getBoundingClientRect()
menu.showPopover()
menu.style.top=min(r.bottom,innerHeight-menu.offsetHeight)+scrollY+"px"
menu.style.left=max(8,r.right-menu.offsetWidth)+"px"
menu.ariaLabel=m.ariaLabel
menu.firstChild.focus()},"m",{ariaLabel:"Rename, move or delete "+name(a),ariaHasPopup:"true"})
a.after(m)}}
B.map(b=>O.unobserve(b)||O.observe(b))
let target=e=>{$(".t").map(t=>t.classList.remove("t"))
let a=e.target.closest?.("nav a,td a")
return drag&&a&&a!=drag&&a.pathname.endsWith("/")&&!a.closest("#by,article")&&a}
on("dragstart",e=>{let a=e.target.closest?.("td a")
drag=a&&!a.closest("#up,#by,article")?a:0})
on("dragend",()=>{drag=0
due&&renew()})
on("dragover",e=>{let a=target(e)
if(a)prevent(e),a.classList.add("t")})
on("drop",e=>{let a=target(e)
if(a)prevent(e),into(drag,a.pathname)})}}
