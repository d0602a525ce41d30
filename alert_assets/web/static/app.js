"use strict";
// Keeps a page fresh. Without it every page works, and is as old as its loading.
(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  const filter = document.querySelector("[data-filter]");
  const light = document.querySelector("[data-live-state]");
  let asked = 0;

  // Asks for the page again, and puts what is new in the place of what is old: nothing else moves.
  const refresh = async (url = location.href) => {
    const mine = ++asked;
    let answer;
    try { answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" }); } catch { return lost(); }
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return lost();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked) return;  // a later answer is on its way
    document.title = page.title;
    for (const old of parts()) {
      const fresh = page.querySelector(`[data-live="${old.dataset.live}"]`);
      if (fresh && fresh.innerHTML !== old.innerHTML) replace(old, fresh);
    }
    found();
  };

  const replace = (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const where = focused && focused.getAttribute("href");
    old.replaceChildren(...fresh.childNodes);
    if (where) { const same = [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === where); if (same) same.focus({ preventScroll: true }); }
  };

  const lost = () => { if (light) { light.hidden = false; light.textContent = "not live"; light.classList.add("lost"); } };
  const found = () => { if (light) { light.hidden = false; light.textContent = "live"; light.classList.remove("lost"); } };

  if (filter) {
    const button = filter.querySelector("button");
    button.hidden = true;
    let waits;
    const apply = () => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(filter)) if (value) query.set(name, value);
      history.replaceState(null, "", `/?${query}`);
      refresh();
    };
    filter.addEventListener("input", (event) => { clearTimeout(waits); waits = setTimeout(apply, event.target.type === "search" ? 200 : 0); });
    filter.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(waits); apply(); });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); filter.elements.q.focus(); }
    });
  }

  if (!parts().length) return;
  let mark = null;
  const source = new EventSource("/live");
  source.addEventListener("mark", (event) => { if (mark !== null && mark !== event.data) refresh(); mark = event.data; found(); });
  source.addEventListener("error", lost);
  setInterval(() => { if (!document.hidden) refresh(); }, 30000);  // ages go on
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
})();
