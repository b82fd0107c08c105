// The player: one or several agents of one task side by side, under one row of buttons. `<div class="mage-player" data-agents="a b">`
// holds the folders of the agents, relative to the page.
import { Actor, readTensors } from "./actor.js";
import { Pendulum, Robot } from "./worlds.js";

let engine;  // fetched once, however many robots there are
const loadEngine = () => engine ??= import("./engine/mujoco.js").then((module) => module.default());

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer;
}

/** One agent in its world, with what it has been paid so far. */
export class Runner {
  constructor(about, world, actor) {
    Object.assign(this, { about, world, actor });
    this.reset();
  }

  static async load(folder) {
    const url = new URL(`${folder}/`, document.baseURI), about = await (await fetched(new URL("agent.json", url))).json();
    const actor = new Actor(readTensors(await (await fetched(new URL("actor.safetensors", url))).arrayBuffer()), about.actor);
    if (!about.world.xml) return new Runner(about, new Pendulum(about.world), actor);
    const xml = await (await fetched(new URL(about.world.xml, url))).text();
    return new Runner(about, new Robot(await loadEngine(), xml, about.world), actor);
  }

  reset() {
    this.world.reset();
    Object.assign(this, { steps: 0, total: 0, phase: 0, ended: "" });
  }

  /** One small step of the physics; an action is chosen before the first of each step, its reward is paid after the last. */
  substep() {
    if (this.ended) return;
    if (this.phase === 0) {
      this.action = this.actor.act(this.world.observe());
      this.world.begin(this.action);
    }
    this.world.substep();
    this.phase = (this.phase + 1) % this.world.substeps;
    if (this.phase !== 0) return;
    const { reward, terminated } = this.world.finish(this.action);
    this.total += reward;
    this.steps += 1;
    if (terminated) this.ended = `fell after ${this.steps} steps`;
    else if (this.steps >= (this.about.world.max_steps ?? Infinity)) this.ended = `the episode ends after ${this.steps} steps`;
  }

  /** A whole episode at once, from the start: what a test compares with Python. */
  episode(steps = Infinity) {
    this.reset();
    const observations = [this.world.observe()];
    while (!this.ended && this.steps < steps) {
      this.substep();
      if (this.phase === 0) observations.push(this.world.observe());
    }
    return { total: this.total, steps: this.steps, ended: this.ended, observations };
  }

  readout() { return `step ${this.steps} · return ${this.total.toFixed(1)} · ${this.world.text()}${this.ended ? ` · ${this.ended}` : ""}`; }
}

/** Draw a world: the ground with a mark every metre, so that one sees it pass, and every body as a thick line. */
function draw(canvas, world) {
  const { low, high, follow, ground } = world.task.view, ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = height / (high - low);
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = canvas.getContext("2d"), centre = follow ? world.position() : 0, ink = getComputedStyle(canvas).color;
  const across = (x) => (x - centre) * scale + width / 2, down = (z) => (high - z) * scale;
  pen.scale(ratio, ratio);
  Object.assign(pen, { lineCap: "round", fillStyle: ink, font: "12px sans-serif", textAlign: "center" });
  const line = (x0, z0, x1, z1, thickness, colour) => {
    Object.assign(pen, { lineWidth: thickness, strokeStyle: colour });
    pen.beginPath();
    pen.moveTo(across(x0), down(z0));
    pen.lineTo(across(x1), down(z1));
    pen.stroke();
  };
  if (ground) {
    const reach = width / 2 / scale;
    line(centre - reach, 0, centre + reach, 0, 1, ink);
    for (let metre = Math.ceil(centre - reach); metre <= centre + reach; metre++) {
      line(metre, 0, metre, -0.06, 1, ink);
      pen.fillText(`${metre} m`, across(metre), down(0) + 20);
    }
  }
  for (const { x0, z0, x1, z1, radius, rgb } of world.shapes()) {
    line(x0, z0, x1, z1, 2 * radius * scale + 2, ink);
    line(x0, z0, x1, z1, 2 * radius * scale, `rgb(${rgb.map((part) => 255 * part)})`);
  }
}

/** A new element, with its properties, inside another. */
function add(parent, tag, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), properties));
}

/** Turn an element into a player. Its runners are then in `element.runners`; a sentence stands in their place where they do not load. */
export async function mount(element) {
  let runners;
  try {
    runners = await Promise.all(element.dataset.agents.split(" ").map(Runner.load));
  } catch (error) {
    element.textContent = `The robots cannot be shown here (${error.message}).`;
    throw error;
  }
  element.replaceChildren();
  const lanes = runners.map((runner) => {
    const figure = add(element, "figure"), caption = add(figure, "figcaption");
    add(caption, "strong", { textContent: runner.about.name });
    const canvas = add(figure, "canvas", { role: "img" });
    return { runner, canvas, readout: add(figure, "p", { className: "mage-readout" }) };
  });
  const bar = add(element, "div", { className: "mage-controls", role: "group", ariaLabel: "player" });
  const button = (textContent, onclick) => add(bar, "button", { type: "button", textContent, onclick });
  const said = add(element, "p", { role: "status", className: "mage-said" });
  let playing = false, speed = 1, last = 0, owed = 0;

  const show = () => lanes.forEach(({ runner, canvas, readout }) => {
    draw(canvas, runner.world);
    readout.textContent = runner.readout();
  });
  const say = (words) => {  // for those who listen: only when something begins or ends
    said.textContent = words;
    lanes.forEach(({ runner, canvas }) => { canvas.ariaLabel = `${runner.about.name}. ${runner.about.text} Now: ${runner.readout()}.`; });
  };
  const frame = (now) => {
    if (!playing) return;
    owed += Math.min(0.1, (now - last) / 1000) * speed;  // seconds of the robot's time; a hidden page does not catch up
    last = now;
    for (const { timestep } = runners[0].world; owed >= timestep; owed -= timestep) runners.forEach((runner) => runner.substep());
    show();
    if (runners.every((runner) => runner.ended)) return play(false);
    requestAnimationFrame(frame);
  };
  const play = (on) => {
    if (on && runners.every((runner) => runner.ended)) runners.forEach((runner) => runner.reset());
    if (on && !playing) requestAnimationFrame((now) => { last = now; frame(now); });
    playing = on;
    playButton.textContent = on ? "Pause" : "Play";
    say(on ? "playing" : runners.every((runner) => runner.ended) ? "the end" : "paused");
  };
  const reset = () => { runners.forEach((runner) => runner.reset()); show(); say("at the start"); };
  const push = (direction) => { runners.forEach((runner) => runner.world.push(direction)); say(`pushed to the ${direction > 0 ? "right" : "left"}`); };

  const playButton = button("Play", () => play(!playing));
  button("Reset", reset);
  button("← Push", () => push(-1));
  button("Push →", () => push(1));
  const label = add(bar, "label", { textContent: "Speed " }), select = add(label, "select", { onchange: () => { speed = Number(select.value); } });
  for (const value of [0.25, 0.5, 1, 2, 4]) add(select, "option", { value, textContent: `${value} ×`, selected: value === 1 });
  add(element, "p", { className: "mage-keys", textContent: "Keys, while the focus is on one of these: P play or pause, R reset, ← → push." });
  const keys = { p: () => play(!playing), r: reset, ArrowLeft: () => push(-1), ArrowRight: () => push(1) };
  element.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === select || !(key in keys)) return;
    event.preventDefault();
    keys[key]();
  });
  new ResizeObserver(show).observe(element);
  show();
  say("ready");
  Object.assign(element, { runners, play, reset, push });
  if ("autoplay" in element.dataset && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}

if (typeof document !== "undefined") document.querySelectorAll(".mage-player").forEach((element) => mount(element));
