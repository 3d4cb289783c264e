/* The page of all patients: rows of its table, the one selected patient, and the export of what is shown. */
(() => {
  "use strict";

  const GRID = "patients";
  const FIRST = 40; /* LONGEST_ORDER of wanted.py: whose lanes and rates are drawn */
  const THIN = "\u202f";
  const MISSING = "–";
  const VERDICTS = {
    increased: ["▲", "increased"],
    decreased: ["▼", "decreased"],
    no_detectable_change: ["=", "no detectable change"],
    not_comparable: ["×", "not comparable"],
    none: ["", "no comparison"],
  };
  const TONES = { increased: "more", decreased: "less", no_detectable_change: "same" };
  const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/; /* FORMULA_STARTS of monitor/store.py */
  const PLAIN_NUMBER = /^-?\d+(\.\d+)?$/;

  let narrowed = { about: {}, verdict: "", search: "" };
  let exports = 0;

  const same = () => window.dash_clientside.no_update;

  const grid = () => {
    const found = window.dash_ag_grid;
    /* Without a table on the page there is none to ask for. */
    if (!found || !document.getElementById(GRID)) return null;
    try {
      return found.getApi(GRID) || null;
    } catch {
      return null;
    }
  };

  /* As words.number writes it: three digits, or all before the point. */
  const number = (value, sign = false) => {
    if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
    const size = Math.abs(value);
    const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    let text = size.toFixed(digits);
    if (text.includes(".")) text = text.replace(/\.?0+$/, "");
    const [whole, rest] = text.split(".");
    text = whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (rest ? `.${rest}` : "");
    const none = text === "0";
    return (value < 0 && !none ? "−" : sign && !none ? "+" : "") + text;
  };

  const limits = (low, high) =>
    low === null || high === null || low === undefined || high === undefined ? "" : `${number(low)} to ${number(high)}`;

  const latest = (params) => (params.data && params.data.state ? params.data.state : number(params.value));

  const years = (value) =>
    value === null || value === undefined ? MISSING : value.toFixed(2).replace("-", "−");

  /* What a verdict on volume rests on beside it, if not on the volume. */
  const verdictWord = (name, by) => {
    const word = (VERDICTS[name] || ["", String(name)])[1];
    return by ? `${word} (${by})` : word;
  };

  const verdict = (name, by) => {
    const symbol = (VERDICTS[name] || [""])[0];
    return symbol ? `${symbol} ${verdictWord(name, by)}` : verdictWord(name, by);
  };

  /* The same question as `kept` of wanted.py asks. */
  const passes = (node) => {
    const row = node.data;
    if (!row) return false;
    for (const [name, wanted] of Object.entries(narrowed.about)) {
      if (wanted && row[name] !== (wanted === "-" ? "" : wanted.slice(1))) return false;
    }
    if (narrowed.verdict && row.verdict !== narrowed.verdict) return false;
    if (!narrowed.search) return true;
    return [row.patient_id, row.condition, row.arm, row.site].join(" ").toLowerCase().includes(narrowed.search);
  };

  const isNarrowed = () =>
    Boolean(narrowed.verdict || narrowed.search || Object.values(narrowed.about).some((wanted) => wanted));

  /* Who stands first in the table: told to the server when it changes. */
  let told = "";
  const first = (params) => {
    const api = params.api;
    const ids = [];
    for (let place = 0; place < Math.min(FIRST, api.getDisplayedRowCount()); place += 1) {
      const node = api.getDisplayedRowAtIndex(place);
      if (node) ids.push(node.id);
    }
    const now = ids.join("\n");
    if (now === told) return;
    told = now;
    window.dash_clientside.set_props("cohort-first", { data: ids });
  };

  const open = (params) => {
    const key = params.event && params.event.key;
    if (key !== undefined && key !== "Enter") return;
    if (params.data) {
      window.dash_clientside.set_props("place", { pathname: `/patient/${encodeURIComponent(params.data.patient_id)}` });
    }
  };

  const harmless = (text) => {
    const plain = text.replace(/\r\n?/g, "\n");
    return FORMULA.test(text) && !PLAIN_NUMBER.test(text) ? `'${plain}` : plain;
  };

  /* A cell as it is shown; numbers as spreadsheets read them, verdicts without their symbol. */
  const cell = (params) => {
    const definition = params.column.getColDef();
    if (definition.field === "verdict") return verdictWord(params.value, params.node && params.node.data && params.node.data.by);
    let text = definition.valueFormatter ? params.formatValue(params.value) : params.value;
    text = text === null || text === undefined || text === MISSING ? "" : String(text);
    if (definition.filter === "agNumberColumnFilter") {
      const plain = text.split(THIN).join("").replace(/^−/, "-").replace(/^\+/, "");
      if (PLAIN_NUMBER.test(plain)) return plain;
    }
    return harmless(text);
  };

  const save = () => {
    const api = grid();
    if (!api) return same();
    const text = api.getDataAsCsv({
      processCellCallback: cell,
      processHeaderCallback: (params) => harmless(String(params.column.getColDef().headerName || "")),
    });
    /* The mark at its start tells Excel that it is UTF-8. */
    const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "calcitrack-patients.csv";
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    exports += 1;
    return `${api.getDisplayedRowCount()} rows were exported`;
  };

  /* The patient of a point that was clicked, if the table knows one of that name. */
  const clicked = (click) => {
    const point = click && click.points && click.points[0];
    if (!point || point.customdata === undefined || point.customdata === null) return null;
    const id = Array.isArray(point.customdata) ? point.customdata[0] : point.customdata;
    return typeof id === "string" ? id : null;
  };

  const rows = (columns) => {
    if (!columns || !columns.patient_id) return [];
    const names = Object.keys(columns);
    return columns.patient_id.map((id, place) => {
      const row = {};
      for (const name of names) {
        const column = columns[name];
        row[name] = Array.isArray(column) ? column[place] : column.texts[column.codes[place]];
      }
      row.tone = TONES[row.verdict] || "unknown";
      return row;
    });
  };

  const pick = (...given) => {
    const now = given.pop();
    const selected = given.pop();
    const source = window.dash_clientside.callback_context.triggered_id;
    if (source === GRID) {
      const id = selected && selected.length ? selected[0].patient_id : null;
      return id === null || id === now ? same() : id;
    }
    const place = ["cohort-figure", "waterfall-figure", "lanes-figure", "forest-figure"].indexOf(source);
    const id = place < 0 ? null : clicked(given[place]);
    const api = grid();
    const known = id !== null && (!api || api.getRowNode(id));
    return known && id !== now ? id : same();
  };

  /* The table follows the selection: the row is marked, and scrolled to. */
  const follow = (chosen) => {
    const api = grid();
    const node = api && chosen ? api.getRowNode(chosen) : null;
    if (node) {
      if (!node.isSelected()) node.setSelected(true, true);
      if (node.displayed) api.ensureNodeVisible(node);
    }
    return same();
  };

  const narrow = (condition, arm, site, chosenVerdict, search) => {
    narrowed = {
      about: { condition: condition || "", arm: arm || "", site: site || "" },
      verdict: chosenVerdict || "",
      search: (search || "").trim().toLowerCase(),
    };
    const api = grid();
    if (api) api.onFilterChanged();
    return same();
  };

  const see = (view) => ["waterfall", "lanes", "forest"].map((name) => name !== view);

  const clear = () => ["", "", "", "", "", {}];

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.calcitrack_cohort = { rows, pick, follow, narrow, see, clear, save };
  window.dashAgGridFunctions = Object.assign(window.dashAgGridFunctions || {}, {
    cohortNumber: number,
    cohortSigned: (value) => number(value, true),
    cohortYears: years,
    cohortLatest: latest,
    cohortLimits: limits,
    cohortVerdict: verdict,
    cohortVerdictWord: verdictWord,
    cohortNarrowed: isNarrowed,
    cohortPasses: passes,
    cohortFirst: first,
    cohortOpen: open,
  });
})();
