// The verdicts of the scorecard under a reader's own confidence, margin and number of seeds.
// The same arithmetic as byol_helpers/reproduction/sensitivity.py and verdicts.py; a test holds both equal.
"use strict";

const REPRODUCED = "reproduced";
const NOT_REPRODUCED = "not reproduced";
const EQUAL = "equal within ±margin";
const UNDECIDED = "undecided";
const NOT_TESTED = "not tested at this scale";
const VERDICTS = [REPRODUCED, NOT_REPRODUCED, EQUAL, UNDECIDED, NOT_TESTED];

function findLevel(evidence, confidence) {
  return evidence.levels.find((level) => level.confidence === confidence);
}

function width(level, seeds) {
  return level.student[String(seeds)] / Math.sqrt(seeds);
}

// The interval of a test under other choices: [low, high], or null where it has none.
function moveBounds(evidence, test, choices) {
  if (test.interval === null) {
    return null;
  }
  const before = findLevel(evidence, evidence.confidence);
  const after = findLevel(evidence, choices.confidence);
  const own = test.seeds;
  const overSeeds = own ? width(after, choices.seeds || own) / width(before, own) : 1;
  const overImages = after.normal / before.normal;
  const isDifference = test.unit === "AP points" && test.margin !== null;
  const isSupposed = !own && choices.seeds !== null && isDifference;
  const supposed = isSupposed ? width(after, choices.seeds) * Math.SQRT2 * choices.spread : 0;
  const distances = test.interval.map((end, side) => {
    const whole = Math.abs(end - test.measured);
    let images = own ? 0 : whole;
    if (test.over_images) {
      images = Math.abs(test.over_images[side] - test.measured);
    }
    const trained = whole ** 2 - images ** 2;
    const square = (images * overImages) ** 2 + trained * overSeeds ** 2 + supposed ** 2;
    return Math.sqrt(Math.max(0, square));
  });
  return [test.measured - distances[0], test.measured + distances[1]];
}

function decideVerdict(test, bounds, factor) {
  if (bounds === null) {
    return UNDECIDED;
  }
  let [least, most] = test.claimed;
  if (test.margin !== null) {
    least = least === -test.margin ? -test.margin * factor : least;
    most = most === test.margin ? test.margin * factor : most;
  }
  least = least === null ? -Infinity : least;
  most = most === null ? Infinity : most;
  const [low, high] = bounds;
  if (least < low && high < most) {
    return test.close ? EQUAL : REPRODUCED;
  }
  if (high < least || low > most) {
    return NOT_REPRODUCED;
  }
  const margin = test.margin === null ? 0 : test.margin * factor;
  return margin && -margin < low && high < margin ? EQUAL : UNDECIDED;
}

function combineVerdicts(tests, verdicts) {
  if (!tests.length) {
    return NOT_TESTED;
  }
  for (const verdict of [NOT_REPRODUCED, UNDECIDED]) {
    if (verdicts.includes(verdict)) {
      return verdict;
    }
  }
  if (tests.some((test, k) => verdicts[k] === EQUAL && !test.close)) {
    return EQUAL;
  }
  return verdicts.includes(REPRODUCED) ? REPRODUCED : EQUAL;
}

// choices: {confidence, factor, seeds: number or null, spread}. Gives {claim: {verdict, bounds, verdicts}}.
function reconsider(evidence, choices) {
  const found = {};
  for (const row of evidence.claims) {
    const bounds = row.tests.map((test) => moveBounds(evidence, test, choices));
    const verdicts = row.tests.map((test, k) => decideVerdict(test, bounds[k], choices.factor));
    found[row.claim] = { verdict: combineVerdicts(row.tests, verdicts), bounds, verdicts };
  }
  return found;
}

function formatBounds(bounds, digits) {
  return bounds === null ? "–" : `[${bounds[0].toFixed(digits)}, ${bounds[1].toFixed(digits)}]`;
}

function readChoices(form, evidence) {
  const seeds = Number(form.elements.seeds.value);
  return {
    confidence: evidence.levels[Number(form.elements.confidence.value)].confidence,
    factor: Number(form.elements.factor.value),
    seeds: seeds < 3 ? null : seeds,
    spread: Number(form.elements.spread.value),
  };
}

function describeChoices(form, choices) {
  const percent = Number((100 * choices.confidence).toFixed(1));
  form.querySelector("[data-shows=confidence]").textContent = `${percent} %`;
  form.querySelector("[data-shows=factor]").textContent = `${choices.factor} times`;
  form.querySelector("[data-shows=seeds]").textContent = choices.seeds || "as they were run";
  form.querySelector("[data-shows=spread]").textContent = `${choices.spread.toFixed(1)} AP points`;
}

function showVerdicts(evidence, found) {
  const counts = new Map(VERDICTS.map((verdict) => [verdict, 0]));
  let moved = 0;
  for (const row of evidence.claims) {
    const now = found[row.claim];
    counts.set(now.verdict, counts.get(now.verdict) + 1);
    moved += now.verdict !== row.verdict;
    const cell = document.querySelector(`[data-claim="${row.claim}"]`);
    cell.textContent = now.verdict;
    cell.dataset.verdict = now.verdict;
    cell.classList.toggle("moved", now.verdict !== row.verdict);
    row.tests.forEach((test, k) => {
      const place = `[data-test="${row.claim}-${k}"]`;
      const line = document.querySelector(place);
      line.querySelector("[data-shows=interval]").textContent = formatBounds(now.bounds[k], test.digits);
      const verdict = line.querySelector("[data-shows=verdict]");
      verdict.textContent = now.verdicts[k];
      verdict.classList.toggle("moved", now.verdicts[k] !== test.verdict);
    });
  }
  const said = VERDICTS.map((verdict) => `${verdict}: ${counts.get(verdict)}`).join("; ");
  document.querySelector("#scorecard-counts").textContent = `${said}. Moved: ${moved}.`;
}

function startScorecard() {
  const data = document.querySelector("#scorecard-data");
  const form = document.querySelector("#scorecard-choices");
  if (!data || !form) {
    return;
  }
  const evidence = JSON.parse(data.textContent);
  const update = () => {
    const choices = readChoices(form, evidence);
    describeChoices(form, choices);
    showVerdicts(evidence, reconsider(evidence, choices));
  };
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  update();
}

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", startScorecard);
}
if (typeof module !== "undefined") {
  module.exports = { reconsider };
}
