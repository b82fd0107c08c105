/* What the theme leaves out for readers without a mouse or a screen: names for the arrows that fold the table of contents, keyboard access to
   formulas that are wider than the page. */
"use strict";
document.addEventListener("DOMContentLoaded", async () => {
  for (const summary of document.querySelectorAll("nav summary")) {
    const link = summary.closest("li").querySelector("a");
    summary.setAttribute("aria-label", "Pages below " + (link ? link.textContent.trim() : "this one"));
  }
  // Sphinx breaks a long signature over lines with a list that is none.
  for (const line of document.querySelectorAll("dt.sig dl, dt.sig dd")) line.setAttribute("role", "presentation");
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const reach = () => document.querySelectorAll("mjx-container, div.math, .output, .bd-article table, div.cell_output").forEach((box) => {
    if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible") box.tabIndex = 0;
  });
  reach();
  addEventListener("resize", reach);
});
