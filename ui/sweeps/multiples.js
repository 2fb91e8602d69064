// Puts the charts that the server drew into the page. A link that has the focus keeps it when they are drawn anew.

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".charts");
  if (root.drawn === data.charts) return;
  const focused = root.getRootNode().activeElement?.getAttribute("href");
  root.innerHTML = root.drawn = data.charts;
  if (focused) root.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}
