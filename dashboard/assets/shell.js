// Head and foot: the theme, where the focus goes on a new page, what is said when the server does not answer, and what
// screen readers are told of parts that Dash draws. Nothing of the results is kept in the browser.
(function () {
  "use strict";
  const KEY = "calcitrack-theme";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function kept() {
    try { return window.localStorage.getItem(KEY); } catch (_) { return null; }
  }
  function dark() {
    const chosen = root.dataset.theme;
    return chosen ? chosen === "dark" : system.matches;
  }
  const before = kept();
  if (before === "dark" || before === "light") { root.dataset.theme = before; }

  let first = true;
  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    calcitrack_shell: {
      // After the first page, the focus follows to the new one, so that a screen reader begins there.
      arrived: function () {
        if (!first) {
          window.scrollTo(0, 0);
          const place = document.getElementById("content");
          if (place) { place.focus({ preventScroll: true }); }
        }
        first = false;
        return window.dash_clientside.no_update;
      },
      // A part that takes long comes once the figure is drawn, or after a second where none is.
      later: function (ticks, about) {
        const drawn = () => document.querySelector(`[id="${about.after}"] .cartesianlayer .xaxislayer-above`);
        return new Promise((done) => {
          const until = performance.now() + 1000;
          (function look() {
            if (drawn() || performance.now() > until) {
              window.requestAnimationFrame(() => window.setTimeout(() => done(about.part), 0));
            } else {
              window.setTimeout(look, 10);
            }
          })();
        });
      },
      // The button says what it changes to.
      theme: function (clicks) {
        if (clicks) {
          root.dataset.theme = dark() ? "light" : "dark";
          try { window.localStorage.setItem(KEY, root.dataset.theme); } catch (_) { /* it then lasts for this page */ }
        }
        return dark() ? "Light" : "Dark";
      },
    },
  });

  // Dash says nothing where a request is refused or lost.
  const ENDED = "The session has ended. Reload the page to go on.";
  const ANEW = "The results were published anew since this page was opened. Reload it: what it shows is of before.";
  const LOST = "The server does not answer. What is on the screen is of before; it goes on by itself once it answers.";
  function say(text) {
    const place = document.getElementById("trouble");
    if (!place) { return; }
    if (text) {
      place.textContent = text;
      place.hidden = false;
    } else if (place.textContent === LOST) {
      place.hidden = true;
    }
  }
  const ask = window.fetch;
  window.fetch = function (...given) {
    const address = String(given[0] && given[0].url ? given[0].url : given[0]);
    const answer = ask.apply(this, given);
    if (address.includes("_dash-update-component")) {
      answer.then((found) => {
        const frame = document.getElementById("frame");
        const run = found.headers.get("X-Calcitrack-Run");
        const other = run && frame && frame.dataset.run && run !== frame.dataset.run;
        say(found.status === 403 ? ENDED : other ? ANEW : "");
      }, () => say(LOST));
    }
    return answer;
  };

  // Dash's dropdown has a hidden field that takes the focus, and its lists of choices nest what is interactive. Its own
  // button takes the focus here, and the lists are groups of plain fields, each named by the label beside.
  function label(part) {
    const own = document.querySelector(`label[for="${CSS.escape(part.id)}"]`);
    if (own && !part.hasAttribute("aria-label")) { part.setAttribute("aria-label", own.textContent); }
  }
  function mend() {
    document.querySelectorAll('.dash-dropdown-focus-target[tabindex="0"]').forEach((field) => {
      const button = field.parentElement && field.parentElement.querySelector("button.dash-dropdown");
      if (button) { button.tabIndex = 0; field.tabIndex = -1; }
    });
    const groups = { ".dash-radioitems": "radiogroup", ".dash-checklist": "group" };
    Object.entries(groups).forEach(([name, role]) => {
      document.querySelectorAll(`${name}:not([role="${role}"])`).forEach((list) => {
        list.setAttribute("role", role);
        label(list);
      });
      document.querySelectorAll(`${name} > label`).forEach((choice) => {
        ["role", "aria-selected"].forEach((told) => choice.removeAttribute(told));
      });
    });
  }
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) { return; }
    waiting = true;
    window.requestAnimationFrame(() => { waiting = false; mend(); });
  }).observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
})();
