// The list of studies: what was found, what the model measured, what is being worked on.

const table = document.getElementById("studies");
const says = document.getElementById("says");
const query = document.getElementById("query");
const more = document.getElementById("more");
const BUSY = new Set(["queued", "running"]);
const WORDS = { queued: "waiting", running: "working", failed: "failed", cancelled: "cancelled" };
let studies = [];
let next = null;
let timer = 0;

async function ask(path, method = "GET") {
  const answer = await fetch(path, { method, headers: { "X-Lvseg": "1" } });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function cell(row, text, name, kind = "td") {
  const made = document.createElement(kind);
  if (kind === "th") made.scope = "row";
  if (name) made.dataset.name = name;
  made.textContent = text;
  row.append(made);
  return made;
}

function act(place, words, label, work) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => work().then(load, (error) => { says.textContent = error.message; }));
  place.append(button);
}

function show() {
  const held = document.activeElement?.getAttribute("aria-label");
  table.replaceChildren();
  for (const study of studies) {
    const row = table.insertRow();
    const done = study.version !== null;
    cell(row, study.name, "", "th");
    cell(row, study.verdict ?? "", "");
    for (const [key, name] of [["ef_percent", "EF"], ["edv_ml", "EDV"], ["esv_ml", "ESV"]]) {
      cell(row, study[key] === null ? (done ? "unknown" : "") : study[key].toFixed(1), name).className = "n";
    }
    cell(row, done ? `version ${study.version}${study.reader ? `, ${study.reader}` : ""}` : (WORDS[study.job_state] ?? "not segmented"), "");
    const last = cell(row, "", "");
    if (done) {
      const link = document.createElement("a");
      link.href = `/api/studies/${study.id}/versions/${study.version}/files/report.html`;
      link.textContent = "Report";
      link.setAttribute("aria-label", `Report of ${study.name}`);
      last.append(link);
    } else if (BUSY.has(study.job_state)) {
      act(last, "Cancel", `Cancel ${study.name}`, () => ask(`/api/jobs/${study.job}/cancel`, "POST"));
    } else {
      act(last, "Segment", `Segment ${study.name}`, () => ask(`/api/studies/${study.id}/segment`, "POST"));
    }
  }
  says.textContent = studies.length ? "" : "No studies found.";
  more.hidden = next === null;
  if (held) [...document.querySelectorAll("[aria-label]")].find((each) => each.getAttribute("aria-label") === held)?.focus();
}

async function page(after) {
  const words = new URLSearchParams({ query: query.value });
  if (after) words.set("after", after);
  return ask(`/api/studies?${words}`);
}

async function load() {
  clearTimeout(timer);
  try {
    const found = await page(null);
    studies = found.studies;
    next = found.next;
    show();
  } catch (error) {
    says.textContent = error.message;
  }
  timer = setTimeout(load, studies.some((each) => BUSY.has(each.job_state)) || !studies.length ? 1000 : 10000);
}

query.addEventListener("input", load);
more.addEventListener("click", async () => {
  const found = await page(next);
  studies = studies.concat(found.studies);
  next = found.next;
  show();
});
load();
