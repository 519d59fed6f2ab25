/* The dashboard's style sheet and its one script: the page works without the script, which keeps folded
 * sections as they were across the reload and says how long ago the page was written. */
#ifndef IO_DASHBOARD_STYLE_H
#define IO_DASHBOARD_STYLE_H

#define DASHBOARD_STYLE                                                                                      \
    "<style>\n"                                                                                              \
    ":root{color-scheme:light "                                                                              \
    "dark;--page:#fff;--panel:#f6f7f9;--ink:#1d2025;--muted:#5c636e;--rule:#dfe2e7;"                         \
    "--blue:#1a61ad;--pale:#a9c4df;--green:#17784f;--amber:#a15c00;--red:#b3261e}\n"                         \
    "@media(prefers-color-scheme:dark){:root{--page:#14171b;--panel:#1d2126;--ink:#e6e8eb;--muted:#9aa3ae;"  \
    "--rule:#333941;--blue:#6fb1f0;--pale:#33506c;--green:#5cc796;--amber:#e3a84f;--red:#f28b82}}\n"         \
    "*{box-sizing:border-box}\n"                                                                             \
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,\"Segoe "   \
    "UI\","                                                                                                  \
    "Roboto,\"DejaVu Sans\",sans-serif}\n"                                                                   \
    "main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}\n"                                          \
    "h1{font-size:22px;line-height:1.25;margin:0;overflow-wrap:anywhere}\n"                                  \
    "h2{font-size:16px;margin:36px 0 10px;padding-bottom:6px;border-bottom:1px solid var(--rule)}\n"         \
    "a{color:var(--blue)}\n"                                                                                 \
    ".top{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:baseline}\n"                                  \
    ".state{font-weight:600}\n"                                                                              \
    ".state::before{content:\"\";display:inline-block;width:9px;height:9px;border-radius:50%;"               \
    "background:currentColor;margin-right:7px}\n"                                                            \
    ".running,.starting{color:var(--blue)}.completed{color:var(--green)}\n"                                  \
    ".interrupted,.unknown{color:var(--amber)}.failed{color:var(--red)}\n"                                   \
    ".note{margin:6px 0 0;color:var(--muted)}\n"                                                             \
    ".message{margin:14px 0 0;padding:10px 14px;background:var(--panel);border-left:3px solid currentColor;" \
    "overflow-wrap:anywhere}.message span{color:var(--ink)}\n"                                               \
    ".bar{height:8px;margin:18px 0 6px;border-radius:4px;background:var(--rule);overflow:hidden}\n"          \
    ".bar i{display:block;height:100%;background:currentColor}\n"                                            \
    ".under{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 20px;color:var(--muted)}\n"      \
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:14px 20px;margin:20px 0 " \
    "0}\n"                                                                                                   \
    "dt{color:var(--muted);font-size:13px}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:"      \
    "anywhere}\n"                                                                                            \
    "dd.big{font-size:18px}\n"                                                                               \
    ".chart{overflow-x:auto}.chart svg{display:block;width:100%;min-width:520px;height:auto}\n"              \
    ".chart text{font-size:12px;fill:var(--muted)}\n"                                                        \
    ".chart path{fill:none;stroke-linejoin:round}\n"                                                         \
    ".chart .grid{stroke:var(--rule);stroke-width:.8}.chart .minor{opacity:.45}\n"                           \
    ".chart .axis{stroke:var(--muted)}\n"                                                                    \
    ".chart .raw{stroke:var(--pale);stroke-width:.9}.chart .smooth{stroke:var(--blue);stroke-width:2}\n"     \
    ".key{margin:0 0 8px;color:var(--muted);font-size:13px}\n"                                               \
    ".key .line{display:inline-block;width:22px;margin:0 7px 0 0;vertical-align:middle;border-top:2px "      \
    "solid}\n"                                                                                               \
    ".key .line+.line,.key .smooth{margin-left:16px}\n"                                                      \
    ".key .raw{border-color:var(--pale)}.key .smooth{border-color:var(--blue)}\n"                            \
    ".figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(460px,100%),1fr));gap:24px}\n"  \
    "figure{margin:0}figure a{display:block;background:#fff;border:1px solid var(--rule);border-radius:4px;" \
    "padding:6px;cursor:zoom-in}\n"                                                                          \
    "figure img{display:block;max-width:100%;height:auto;margin:0 auto}\n"                                   \
    "figcaption{margin-top:6px;color:var(--muted);font-size:14px;overflow-wrap:anywhere}\n"                  \
    ".table{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"             \
    "td,th{padding:4px 24px 4px "                                                                            \
    "0;text-align:left;font-weight:normal;vertical-align:top;overflow-wrap:anywhere}\n"                      \
    "th{color:var(--muted)}\n"                                                                               \
    "summary{cursor:pointer;margin-top:36px;font-size:16px;font-weight:600}\n"                               \
    "pre{margin:10px 0 0;padding:14px;background:var(--panel);border-radius:4px;overflow-x:auto;"            \
    "font:13px/1.5 ui-monospace,\"DejaVu Sans Mono\",monospace}\n"                                           \
    "</style>\n"

#define DASHBOARD_SCRIPT                                                                                     \
    "<script>\n"                                                                                             \
    "try{document.querySelectorAll('details').forEach(function(d){var k='ddpm_mpi '+d.id;"                   \
    "d.open=sessionStorage.getItem(k)=='1';"                                                                 \
    "d.addEventListener('toggle',function(){sessionStorage.setItem(k,d.open?'1':'0')})})}catch(e){}\n"       \
    "var age=document.getElementById('age'),written=age?Date.parse(age.dataset.time):NaN;\n"                 \
    "function tell(){var s=Math.round((Date.now()-written)/1000);if(!(s>=0))return;"                         \
    "age.textContent=s<90?s+' s ago':s<5400?Math.round(s/60)+' min ago':Math.round(s/3600)+' h ago'"         \
    "+(s>600&&age.dataset.running?' - is the run still alive?':'')}\n"                                       \
    "if(written){tell();setInterval(tell,1000)}\n"                                                           \
    "</script>\n"

#endif
