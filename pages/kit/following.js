// Links between pages of the app go the way of the browser's own Back and Forward: nothing is loaded anew.

export default function (component) {
  const pages = new Set(component.data.pages);
  const follow = (event) => {
    const link = event.target instanceof Element ? event.target.closest(".cs a[href]") : null;
    if (!link || link.target || event.defaultPrevented || event.button) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const to = new URL(link.href, document.baseURI);
    if (to.origin !== location.origin || !pages.has(to.pathname.split("/").pop())) return;
    event.preventDefault();
    history.pushState(null, "", to.pathname + to.search);
    window.dispatchEvent(new PopStateEvent("popstate"));
  };
  document.addEventListener("click", follow);
  return () => document.removeEventListener("click", follow);
}
