// Folded parts are opened for printing and folded again afterwards.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});

// A link to a folded section opens it.
function unfold() {
  const part = document.getElementById(location.hash.slice(1))?.querySelector(":scope > details.fold");
  if (!part) return;
  part.open = true;
  part.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();

// Numbers appear at the pointer at once, where the browser would wait; without this script it shows them itself.
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.hidden = true;
for (const title of document.querySelectorAll("svg title")) {
  title.parentElement.dataset.tip = title.textContent;
  title.remove();
}
addEventListener("pointermove", (event) => {
  const told = event.target.closest?.("[data-tip]");
  tip.hidden = !told;
  if (!told) return;
  tip.textContent = told.dataset.tip;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 12, room))}px`;
  const above = event.clientY - tip.offsetHeight - 12;
  tip.style.top = `${above > 8 ? above : event.clientY + 16}px`;
});
