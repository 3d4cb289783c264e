// A patient's page: keys in the table of lesions, pictures when they come into sight, marks of the family tree.
(function () {
  "use strict";
  const GRID = "lesions";
  const AHEAD_PX = "600px"; // so far outside the strip pictures are already asked for

  function grid() {
    try { return document.getElementById(GRID) && window.dash_ag_grid.getApi(GRID); } catch (_) { return null; }
  }

  // The arrow keys move the focus from row to row, and the row with the focus is the one that is shown.
  window.dashAgGridFunctions = window.dashAgGridFunctions || {};
  window.dashAgGridFunctions.calcitrackPick = function (params) {
    if (params.rowIndex === null || params.rowIndex === undefined || params.rowPinned) { return; }
    const node = params.api.getDisplayedRowAtIndex(params.rowIndex);
    if (node && !node.isSelected()) { node.setSelected(true, true); }
  };

  // The Tab key leaves the table, in which the arrow keys move: else it would stop at every cell of every lesion.
  window.dashAgGridFunctions.calcitrackLeave = function () { return false; };

  // j and k: the next and the previous lesion, wherever the focus is but in a field that takes letters.
  function step(by) {
    const api = grid();
    if (!api || !api.getDisplayedRowCount()) { return; }
    const chosen = api.getSelectedNodes()[0];
    const from = chosen && chosen.rowIndex !== null ? chosen.rowIndex : -by;
    const to = Math.min(Math.max(from + by, 0), api.getDisplayedRowCount() - 1);
    api.getDisplayedRowAtIndex(to).setSelected(true, true);
    api.ensureIndexVisible(to);
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.key !== "j" && event.key !== "k")) { return; }
    const at = event.target;
    if (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) { return; }
    if (at.closest && at.closest('[role="listbox"], [role="combobox"], .dash-dropdown-content')) { return; }
    step(event.key === "j" ? 1 : -1);
  });

  // Pictures: an address that is not in sight waits. The page may take an element for another lesion, so an element
  // whose address changed shows nothing until its own picture comes.
  const near = window.IntersectionObserver ? new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) { if (entry.isIntersecting) { show(entry.target); near.unobserve(entry.target); } });
  }, { rootMargin: AHEAD_PX, scrollMargin: AHEAD_PX }) : null;
  function show(image) {
    if (image.getAttribute("src") !== image.dataset.src) { image.setAttribute("src", image.dataset.src); }
  }
  function look(root) {
    root.querySelectorAll("img[data-src]").forEach(function (image) {
      if (image.getAttribute("src") === image.dataset.src) { return; }
      image.removeAttribute("src");
      if (near) { near.unobserve(image); near.observe(image); } else { show(image); }
    });
  }
  new MutationObserver(function (changes) {
    const strip = document.getElementById("strip");
    if (strip && changes.some((each) => strip.contains(each.target) || each.target.contains(strip))) { look(strip); }
  }).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-src"] });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("#strip img[data-src]").forEach(show);
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    calcitrack_patient: {
      // The table shows the rows that hold all the words.
      search: function (words) {
        const api = grid();
        if (api) { api.setGridOption("quickFilterText", words || ""); }
        const left = api ? api.getDisplayedRowCount() : 0;
        return words ? left + (left === 1 ? " lesion" : " lesions") : "";
      },
      // A mark of the family tree picks its lesion in the table, and the table's own choice does the rest.
      pick: function (click) {
        const point = click && click.points && click.points[0];
        if (!point || point.customdata === undefined) { return window.dash_clientside.no_update; }
        const api = grid();
        const node = api && api.getRowNode(String(point.customdata));
        if (node) { api.ensureNodeVisible(node); node.setSelected(true, true); }
        return window.dash_clientside.no_update;
      },
      // Whose answer came? One for a page that is gone, which the page of another patient got, is asked for anew.
      own: function (answer, patient) {
        if ((Array.isArray(answer) ? answer[0] : answer) !== patient) {
          window.dash_clientside.set_props("patient-again", { data: Date.now() });
        }
        return window.dash_clientside.no_update;
      },
      // The latest visits are in sight first; the baseline stays at the left.
      latest: function () {
        window.requestAnimationFrame(function () {
          const others = document.querySelector("#strip .others");
          if (others) { others.scrollLeft = others.scrollWidth; }
        });
        return window.dash_clientside.no_update;
      },
    },
  });
})();
