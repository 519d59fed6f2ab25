/* The dashboard's style sheet and script, as the elements <style> and <script>. */
#ifndef IO_DASHBOARD_STYLE_H
#define IO_DASHBOARD_STYLE_H

const char *dashboard_style(void);

/* The page works without it: it keeps folded sections as they were across a reload and tells how long ago the
 * page was written. */
const char *dashboard_script(void);

#endif
