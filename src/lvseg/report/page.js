"use strict";
// The cine player: images and contours on a canvas, one state, one drawing function.
(() => {
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study").textContent);
  const stage = byId("stage"), canvas = byId("canvas"), pen = canvas.getContext("2d");
  const player = byId("cine"), chart = byId("chart");
  if (!pen) return; // no canvas: the still pictures say everything
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--contour");
  const state = {
    phase: study.phase, slice: study.slice,
    playing: false, all: false, contour: true, speed: 1,
  };
  const sprites = Array.from({ length: study.slices }, (_, index) => {
    const image = new Image();
    image.src = byId(`sprites-${index}`).getAttribute("href");
    return image;
  });

  // Numbers as the page writes them: a thin space between thousands.
  const spell = (value, digits) =>
    value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  const around = (value, count) => ((value % count) + count) % count;

  // Contours are curves through the middles between their points, in pixels of a frame.
  function curveOf(contours) {
    const path = new Path2D();
    for (const steps of contours) {
      const points = [];
      for (let at = 0, x = 0, y = 0; at < steps.length; at += 2) {
        x += steps[at];
        y += steps[at + 1];
        points.push([x / study.steps, y / study.steps]);
      }
      const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
      path.moveTo(...middle(points[points.length - 1], points[0]));
      points.forEach((point, at) =>
        path.quadraticCurveTo(...point, ...middle(point, points[(at + 1) % points.length])));
      path.closePath();
    }
    return path;
  }
  const paths = new Map();
  function contoursOf(phase, slice) {
    const key = phase * study.slices + slice;
    if (!paths.has(key)) {
      paths.set(key, study.contours.map((label) =>
        ({ colour: label.colour || colour, path: curveOf(label.frames[phase][slice]) })));
    }
    return paths.get(key);
  }

  // Where slices stand on the stage; all of them fill it as well as squares can.
  function places(width, height) {
    if (!state.all) {
      const edge = Math.min(width, height);
      return [{ slice: state.slice, x: (width - edge) / 2, y: (height - edge) / 2, edge }];
    }
    let columns = 1, edge = 0;
    for (let tried = 1; tried <= study.slices; tried += 1) {
      const fits = Math.min(width / tried, height / Math.ceil(study.slices / tried));
      if (fits >= edge) [columns, edge] = [tried, fits];
    }
    const left = (width - columns * edge) / 2;
    const top = (height - Math.ceil(study.slices / columns) * edge) / 2;
    return sprites.map((_, slice) => ({
      slice, edge, x: left + (slice % columns) * edge, y: top + Math.floor(slice / columns) * edge,
    }));
  }

  function drawFrame({ slice, x, y, edge }, ratio) {
    const inset = 0.5, source = study.edge;
    const column = state.phase % study.columns, row = Math.floor(state.phase / study.columns);
    const gap = state.all ? ratio : 0, size = edge - 2 * gap;
    pen.drawImage(
      sprites[slice], column * source + inset, row * source + inset, source - 2 * inset,
      source - 2 * inset, x + gap, y + gap, size, size);
    if (state.contour) {
      const scale = size / (source - 2 * inset);
      pen.save();
      pen.beginPath();
      pen.rect(x + gap, y + gap, size, size);
      pen.clip();
      pen.translate(x + gap - inset * scale, y + gap - inset * scale);
      pen.scale(scale, scale);
      pen.lineJoin = "round";
      pen.lineWidth = ((state.all ? 1.6 : 2.2) * ratio) / scale;
      for (const label of contoursOf(state.phase, slice)) {
        pen.strokeStyle = label.colour;
        pen.stroke(label.path);
      }
      pen.restore();
    }
    if (state.all) {
      pen.font = `600 ${12.5 * ratio}px sans-serif`;
      pen.textBaseline = "top";
      pen.lineWidth = 3 * ratio;
      pen.strokeStyle = "#000";
      pen.fillStyle = "#fff";
      pen.strokeText(slice, x + 7 * ratio, y + 7 * ratio);
      pen.fillText(slice, x + 7 * ratio, y + 7 * ratio);
    }
  }

  let ready = false;
  function draw() {
    if (!ready) return;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(stage.clientWidth * ratio);
    const height = Math.round(stage.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    const all = places(width, height);
    stage.classList.toggle("full", all[0].y < height / 14); // no room for words beside the pictures
    for (const place of all) drawFrame(place, ratio);
    Object.assign(canvas.dataset, { phase: state.phase, slice: state.slice });
    say();
  }

  // Words beside the pictures
  function write(id, words) {
    const element = byId(id);
    if (element && element.textContent !== words) element.textContent = words;
  }
  function moment() {
    if (state.phase === study.ed) return "End-diastole";
    return state.phase === study.es ? "End-systole" : "";
  }
  function time() {
    return study.times ? `${spell(study.times[state.phase], 0)} ms` : "";
  }
  function area() {
    const held = study.areas[state.phase], dice = study.dice[state.phase];
    if (!held) return "not outlined";
    if (!held[state.slice]) return "no cavity";
    const words = `${spell(held[state.slice], 0)} ${study.areaUnit}`;
    const expected = dice ? dice[state.slice] : null;
    return expected === null ? words : `${words}, expected Dice ${expected.toFixed(2)}`;
  }
  function end() {
    if (!study.base || study.slices < 2) return "";
    if (state.slice === (study.base === "first" ? 0 : study.slices - 1)) return ", basal end";
    return state.slice === (study.base === "first" ? study.slices - 1 : 0) ? ", apical end" : "";
  }
  function say() {
    const value = study.values[state.phase];
    const words = value === null ? "" : `${spell(value, study.unit === "ml" ? 1 : 0)} ${study.unit}`;
    write("says-slice", study.slices > 1 ? `Slice ${state.slice}${end()}` : "");
    write("says-phase", [study.phases > 1 && `Phase ${state.phase}`, time()].filter(Boolean).join(", "));
    write("says-area", area());
    write("says-moment", moment());
    write("phase-words", [state.phase, time()].filter((each) => each !== "").join(", "));
    write("slice-words", `${state.slice} (0\u2013${study.slices - 1})`);
    write("chart-words", words && `Phase ${state.phase}: ${words}`);
    if (byId("phase")) byId("phase").value = state.phase;
    if (byId("slice")) byId("slice").value = state.slice;
    const shown = state.all ? `All ${study.slices} slices` : `Slice ${state.slice}, ${area()}`;
    canvas.setAttribute("aria-label", `${shown}, phase ${state.phase}`);
    moveCursor(words);
  }
  function moveCursor(words) {
    if (!study.plot) return;
    const at = study.plot.phase.indexOf(state.phase), cursor = byId("cursor");
    cursor.setAttribute("visibility", at < 0 ? "hidden" : "visible");
    chart.setAttribute("aria-valuenow", state.phase);
    chart.setAttribute("aria-valuetext", [`phase ${state.phase}`, time(), words].filter(Boolean).join(", "));
    if (at < 0) return;
    cursor.setAttribute("transform", `translate(${study.plot.x[at]} 0)`);
    byId("cursor-dot").setAttribute("cy", study.plot.y[at]);
  }

  // Changing the state
  function go({ phase = state.phase, slice = state.slice }) {
    state.phase = around(phase, study.phases);
    state.slice = within(slice, study.slices);
    draw();
  }
  let last = 0, elapsed = 0;
  function tick(now) {
    if (!state.playing) return;
    elapsed += Math.min(now - last, 250) * state.speed;
    last = now;
    const step = study.beatMs / study.phases, passed = Math.floor(elapsed / step);
    if (passed > 0) {
      elapsed -= passed * step;
      go({ phase: state.phase + passed });
    }
    requestAnimationFrame(tick);
  }
  function play(playing) {
    if (study.phases < 2 || playing === state.playing) return;
    state.playing = playing;
    write("play-words", playing ? "Pause" : "Play");
    byId("play-sign").setAttribute("d", playing ? "M3 2h4v12H3zM9 2h4v12H9z" : "M4 2l10 6-10 6z");
    if (!playing) return;
    last = performance.now();
    elapsed = 0;
    requestAnimationFrame(tick);
  }
  function stopAt(place) {
    play(false);
    go(place);
  }
  function press(id, pressed) {
    if (byId(id)) byId(id).setAttribute("aria-pressed", String(pressed));
  }
  function showAll(all) {
    state.all = all && study.slices > 1;
    press("all", state.all);
    press("one", !state.all);
    stage.classList.toggle("all", state.all);
    draw();
  }
  function showContour(contour) {
    state.contour = contour;
    press("contour", contour);
    draw();
  }

  // What people press
  const on = (id, kind, act) => byId(id) && byId(id).addEventListener(kind, act);
  on("play", "click", () => play(!state.playing));
  on("go-ed", "click", () => stopAt({ phase: study.ed }));
  on("go-es", "click", () => stopAt({ phase: study.es }));
  on("one", "click", () => showAll(false));
  on("all", "click", () => showAll(true));
  on("contour", "click", () => showContour(!state.contour));
  on("speed", "change", (event) => { state.speed = Number(event.target.value); });
  on("phase", "input", (event) => stopAt({ phase: Number(event.target.value) }));
  on("slice", "input", (event) => go({ slice: Number(event.target.value) }));
  stage.addEventListener("click", (event) => {
    if (!state.all) return play(!state.playing);
    const box = stage.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const hit = places(box.width, box.height).find(
      (place) => x >= place.x && x < place.x + place.edge && y >= place.y && y < place.y + place.edge);
    if (!hit) return;
    state.slice = hit.slice;
    showAll(false);
  });
  for (const link of document.querySelectorAll("a.jump")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const { slice, phase } = link.dataset;
      if (slice !== undefined) showAll(false);
      stopAt({
        slice: slice === undefined ? state.slice : Number(slice),
        phase: phase === undefined ? state.phase : Number(phase),
      });
      player.scrollIntoView({ block: "nearest", behavior: still.matches ? "auto" : "smooth" });
      stage.focus({ preventScroll: true });
    });
  }

  // Keys: in the player always; Space, left, right and C also when nothing has the focus and the
  // pictures are in sight. Up and down are left to scrolling there.
  function inSight() {
    const box = stage.getBoundingClientRect();
    const seen = Math.min(box.bottom, window.innerHeight) - Math.max(box.top, 0);
    return seen > box.height / 2;
  }
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = document.activeElement, free = !at || at === document.body;
    if (!(player.contains(at) || (free && inSight()))) return;
    const tag = at ? at.tagName : "";
    const acts = {
      " ": () => play(!state.playing),
      c: () => showContour(!state.contour),
      ArrowLeft: () => stopAt({ phase: state.phase - 1 }),
      ArrowRight: () => stopAt({ phase: state.phase + 1 }),
      ArrowUp: () => go({ slice: state.slice - 1 }),
      ArrowDown: () => go({ slice: state.slice + 1 }),
    };
    const key = event.key === "C" ? "c" : event.key;
    if (!acts[key]) return;
    if (tag === "SELECT" || (tag === "BUTTON" && key === " ")) return; // theirs
    if (tag === "INPUT" && key.startsWith("Arrow")) return;
    if (free && (key === "ArrowUp" || key === "ArrowDown")) return;
    event.preventDefault();
    acts[key]();
  });

  // The curve is a second slider for the phase: point at it, drag, or use the arrow keys.
  function nearest(event) {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * study.plot.width;
    const away = study.plot.x.map((place) => Math.abs(place - x));
    return study.plot.phase[away.indexOf(Math.min(...away))];
  }
  function openChart() {
    const settings = {
      role: "slider", tabindex: "0", "aria-label": "Phase, on the curve", "aria-valuemin": 0,
      "aria-valuemax": study.phases - 1,
    };
    for (const [name, value] of Object.entries(settings)) chart.setAttribute(name, value);
    chart.addEventListener("pointerdown", (event) => stopAt({ phase: nearest(event) }));
    chart.addEventListener("pointermove", (event) => {
      if (!state.playing) go({ phase: nearest(event) });
    });
    chart.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
      if (event.key in steps) stopAt({ phase: state.phase + steps[event.key] });
      else if (event.key === "Home") stopAt({ phase: 0 });
      else if (event.key === "End") stopAt({ phase: study.phases - 1 });
      else return;
      event.preventDefault();
    });
  }

  player.hidden = false;
  if (study.plot) openChart();
  new ResizeObserver(draw).observe(stage);
  Promise.all(sprites.map((image) => image.decode())).then(() => {
    ready = true;
    draw();
    document.documentElement.dataset.ready = "true";
    if (!still.matches) play(true); // people who ask for less motion press Play themselves
  });
})();
