/* <script async src="HOST/spiked.js?key=KEY" data-step data-release></script>
 spiked("track",{name:"buy",value:9}) */
(function(w,d,n,l){
var s=d.currentScript,q=[],errors=0,step,last,timer,store={};
if(!s||w.spiked)return;
function attr(a){return s.getAttribute("data-"+a)||undefined}
var key=attr("key")||new URL(s.src).searchParams.get("key"),
to=new URL("v1/beacon",s.src).href+(key?"?key="+encodeURIComponent(key):""),
utm=new URLSearchParams(l.search);
try{store=w.sessionStorage}catch(e){}
function keep(k,v){try{return store[k]||(v&&(store[k]=v))}catch(e){return v}}
var session=keep("spiked.s",Math.random().toString(36).slice(2)+Date.now().toString(36)),
source=keep("spiked.u",utm.get("utm_source")),campaign=keep("spiked.c",utm.get("utm_campaign"));
function flush(){
clearTimeout(timer);timer=0;
while(q.length){var b=q.splice(0,20).join("\n");
if(!(n.sendBeacon&&n.sendBeacon(to,b)))fetch(to,{method:"POST",body:b,keepalive:true,mode:"no-cors"}).catch(function(){})}
}
function send(type,more){
q.push(JSON.stringify(Object.assign({type:type,page:l.pathname,step:step,session:session,source:source,
campaign:campaign,site:attr("site"),env:attr("env"),release:attr("release")},more)));
timer=timer||setTimeout(flush,1e3)
}
function view(){
if(last===l.pathname)return;
step=last?undefined:attr("step");last=l.pathname;send("view")
}
function error(x,m){
if(errors++<20)send("error",{error:{type:x&&x.name||"Error",handled:false,
message:String(x&&x.message||m||x).slice(0,300),stack:String(x&&x.stack||"").slice(0,2e3)}})
}
w.spiked=send;
function on(t,e,f){t.addEventListener(e,f)}
on(w,"error",function(e){if(e.error||e.message)error(e.error,e.message)});
on(w,"unhandledrejection",function(e){error(e.reason)});
on(w,"popstate",view);on(w,"pagehide",flush);
on(d,"visibilitychange",function(){d.hidden&&flush()});
["pushState","replaceState"].forEach(function(f){var was=history[f];
history[f]=function(){var r=was.apply(this,arguments);view();return r}});
view()
})(window,document,navigator,location);
