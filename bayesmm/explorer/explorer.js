// Partial pooling to be moved by hand. An ES module in anywidget's convention, without dependencies and without requests.
//
// Letters as in docs/design.md. All sums are over conditioned columns: X orthonormal, y what least squares leaves, effect
// columns ZT^-1. For one grouping factor, level i has R_i'R_i = Z_i'Z_i, C_i with R_i'C_i = Z_i'[X y], and W_i, what
// [X y] have beyond its columns. Least squares of the columns [sqrt(w_i) C_i; 0] on [sqrt(w_i) R_i L; I] gives the
// root F_i' of M_i = I + w_i L'Z_i'Z_i L, the part V_i that is explained and the part E_i that is not; then
//
//   log|H| = sum log|M_i|,   S = sum w_i W_i + E_i'E_i,   V_i = F_i^-1 w_i L'Z_i'[X y],   D_i = F_i^-1 L',
//   b_i = D_i'(V_iy - V_iX beta),   Var(b_i | y, beta) = s^2 D_i'D_i,   B_i = D_i'V_iX.
//
// No difference of large numbers is taken, however much levels differ. w_i is how often each row of level i counts.
// Where levels are tied to each other by those of another factor, whose variance is held, they are one level of all
// their effects (tied).

const COLOURS = { partial: "#0072B2", own: "#CC79A7", all: "#E69F00", posterior: "#D55E00", truth: "#009E73" };
const MOST_DRAWN = 300; // levels in a picture; of more, every second or third
const LABELLED = 60; // levels that have their name beside them
const TALLEST = 800; // pixels of all levels, where there is room
const NARROW = 640; // pixels below which the sliders stand under the picture
const FONT = "12px system-ui,sans-serif"; // of a picture
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const STEPS = 1000; // of a slider
const CURVE = 43; // values of the likelihood along a slider
const FINER = 14; // steps about the highest of them

// ---------------------------------------------------------------------------------------------------------- numbers

function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(8 * i, true));
}

/** Lower Cholesky factor of a k by k matrix, in place; a pivot that is only rounding becomes zero. */
function cholesky(A, k, least = 0) {
  for (let j = 0; j < k; j++) {
    for (let i = j; i < k; i++) {
      let sum = A[i * k + j];
      for (let l = 0; l < j; l++) sum -= A[i * k + l] * A[j * k + l];
      if (i === j) A[j * k + j] = sum > least ? Math.sqrt(sum) : 0;
      else A[i * k + j] = A[j * k + j] > 0 ? sum / A[j * k + j] : 0;
    }
    for (let l = j + 1; l < k; l++) A[j * k + l] = 0;
  }
  return A;
}

/** F^-1 B in place, B k by c. */
function forward(F, k, B, c) {
  for (let i = 0; i < k; i++)
    for (let j = 0; j < c; j++) {
      let sum = B[i * c + j];
      for (let l = 0; l < i; l++) sum -= F[i * k + l] * B[l * c + j];
      B[i * c + j] = sum / F[i * k + i];
    }
  return B;
}

/** F'^-1 b in place. */
function backward(F, k, b) {
  for (let i = k - 1; i >= 0; i--) {
    let sum = b[i];
    for (let l = i + 1; l < k; l++) sum -= F[l * k + i] * b[l];
    b[i] = sum / F[i * k + i];
  }
  return b;
}

/** Least squares by Gram and Schmidt, in place, of the last columns on the first k: R'; V, and the rest in T. */
function peel(columns, k) {
  const c = columns.length - k;
  const F = new Float64Array(k * k);
  const V = new Float64Array(k * c);
  for (let j = 0; j < k; j++) {
    const q = columns[j];
    const size = Math.sqrt(dot(q, q));
    F[j * k + j] = size;
    if (size > 0) for (let a = 0; a < q.length; a++) q[a] /= size;
    for (let l = j + 1; l < k + c; l++) {
      const part = dot(q, columns[l]);
      if (l < k) F[l * k + j] = part;
      else V[j * c + l - k] = part;
      for (let a = 0; a < q.length; a++) columns[l][a] -= part * q[a];
    }
  }
  return { F, V };
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** A B, A r by s and B s by t. */
function times(A, B, r, s, t) {
  const C = new Float64Array(r * t);
  for (let i = 0; i < r; i++)
    for (let l = 0; l < s; l++) {
      const a = A[i * s + l];
      if (a !== 0) for (let j = 0; j < t; j++) C[i * t + j] += a * B[l * t + j];
    }
  return C;
}

function transpose(A, r, c) {
  const B = new Float64Array(r * c);
  for (let i = 0; i < r; i++) for (let j = 0; j < c; j++) B[j * r + i] = A[i * c + j];
  return B;
}

/** Relative factor on the user's columns, of relative standard deviations and correlations. */
function factorOf(ratios, correlations) {
  const k = ratios.length;
  const L = cholesky(Float64Array.from(correlations), k, 1e-15);
  return L.map((value, at) => value * ratios[Math.floor(at / k)]);
}

/** How many levels are eliminated one by one, and the effects of each. */
function sizes({ tied, k, q }) {
  return tied ? { K: k * q, Q: 1 } : { K: k, Q: q };
}

/** A k by k matrix for each level, side by side where levels are tied. */
function widen(A, { tied, k, q }) {
  if (!tied) return A;
  const wide = new Float64Array((k * q) ** 2);
  for (let i = 0; i < q; i++)
    for (let a = 0; a < k; a++) for (let b = 0; b < k; b++) wide[(i * k + a) * k * q + i * k + b] = A[a * k + b];
  return wide;
}

/** (log|H|, S) at one factor; with `keep` also F and V of each level. */
function reduce(sums, Lambda, choice, keep = false) {
  const { p, levelRoot, cross } = sums;
  const { K: k, Q: q } = sizes(sums);
  const c = p + 1;
  const L = widen(times(sums.root, Lambda, sums.k, sums.k, sums.k), sums);
  const { times: m = 1, picked = -1, fade = 1 } = choice;
  const S = sums.allRest.map((value) => m * value);
  if (picked >= 0 && fade !== 1)
    for (let a = 0; a < c * c; a++) S[a] -= m * (1 - fade) * sums.rest[picked * c * c + a];
  const F = keep ? new Float64Array(q * k * k) : null;
  const V = keep ? new Float64Array(q * k * c) : null;
  let logDet = 0;
  for (let i = 0; i < q; i++) {
    const w = Math.sqrt(m * (i === picked ? fade : 1));
    const A = times(levelRoot.subarray(i * k * k, (i + 1) * k * k), L, k, k, k);
    const columns = Array.from({ length: k + c }, (_, j) => {
      const column = new Float64Array(2 * k);
      for (let a = 0; a < k; a++) column[a] = w * (j < k ? A[a * k + j] : cross[(i * k + a) * c + j - k]);
      if (j < k) column[k + j] = 1;
      return column;
    });
    const own = peel(columns, k);
    for (let a = 0; a < k; a++) logDet += 2 * Math.log(own.F[a * k + a]);
    for (let x = 0; x < c; x++) for (let z = 0; z < c; z++) S[x * c + z] += dot(columns[k + x], columns[k + z]);
    if (keep) {
      F.set(own.F, i * k * k);
      V.set(own.V, i * k * c);
    }
  }
  const rows = m * (sums.rows - (picked >= 0 ? (1 - fade) * sums.n[picked] : 0));
  return { logDet, S, F, V, rows };
}

/** Fixed effects by generalised least squares, sigma, and the (restricted) log-likelihood. */
function readOff(sums, reduced, sigma) {
  const { p } = sums;
  const c = p + 1;
  const { S } = reduced;
  const A = new Float64Array(p * p);
  for (let a = 0; a < p; a++) for (let b = 0; b < p; b++) A[a * p + b] = S[a * c + b];
  cholesky(A, p);
  const half = forward(A, p, Float64Array.from({ length: p }, (_, a) => S[a * c + p]), 1);
  let square = S[p * c + p];
  let logA = sums.logRoot;
  for (let a = 0; a < p; a++) {
    square -= half[a] * half[a];
    logA += 2 * Math.log(A[a * p + a]);
  }
  const reml = sums.method === "reml";
  const df = reduced.rows - (reml ? p : 0);
  const variance = sigma === null ? square / df : sigma * sigma;
  const penalty = reduced.logDet - sums.logWeights + (reml ? logA : 0);
  const loglik = -0.5 * (penalty + df * Math.log(2 * Math.PI * variance) + square / variance);
  return { A, beta: backward(A, p, half), sigma: Math.sqrt(variance), loglik };
}

function logLikelihood(sums, Lambda, choice, sigma) {
  return readOff(sums, reduce(sums, Lambda, choice), sigma).loglik;
}

/**
 * Everything that is shown, at one factor.
 *
 * Arrays are by level, then effect: own (least squares on the level's rows), effect (the BLUP), coefficient (with the
 * fixed effect of its name), sd (given beta), sdFixed (with the error of beta), sdCoefficient (of the coefficient,
 * likewise), weight (how much of its own estimate stays).
 */
function evaluate(sums, Lambda, choice, sigmaHeld = null) {
  const { k, p, q, levelRoot, cross, fixedBack, shifts } = sums;
  const { K, Q } = sizes(sums);
  const c = p + 1;
  const reduced = reduce(sums, Lambda, choice, true);
  const at = readOff(sums, reduced, sigmaHeld);
  const s = at.sigma;
  const fixed = times(fixedBack, at.beta, p, p, 1).map((value, j) => value + sums.origin[j]);
  const found = { sigma: s, loglik: at.loglik, fixed };
  for (const name of ["own", "effect", "coefficient", "sd", "sdFixed", "sdCoefficient", "weight"])
    found[name] = new Float64Array(q * k);
  const right = widen(transpose(Lambda, k, k), sums);
  const root = widen(sums.root, sums);
  found.centre = Array.from(shifts, (j) => (j < 0 ? 0 : fixed[j]));
  for (let i = 0; i < Q; i++) {
    const V = reduced.V.subarray(i * K * c, (i + 1) * K * c);
    const D = forward(reduced.F.subarray(i * K * K, (i + 1) * K * K), K, right.slice(), K);
    const turned = transpose(D, K, K);
    const spread = times(turned, D, K, K, K);
    const B = times(turned, V, K, K, c);
    for (let a = 0; a < K; a++) {
      const here = i * K + a;
      let effect = B[a * c + p];
      for (let j = 0; j < p; j++) effect -= B[a * c + j] * at.beta[j];
      found.effect[here] = effect;
      found.coefficient[here] = effect + found.centre[a % k];
      const given = spread[a * K + a];
      const row = Float64Array.from({ length: p }, (_, j) => B[a * c + j]);
      const shift = shifts[a % k];
      const moved = shift < 0 ? row : row.map((value, j) => value - fixedBack[shift * p + j]);
      found.sd[here] = s * Math.sqrt(given);
      found.sdFixed[here] = s * Math.sqrt(given + squareOver(at.A, p, row));
      found.sdCoefficient[here] = s * Math.sqrt(given + squareOver(at.A, p, moved));
    }
    // Z'(y - X beta - Zb): what the levels' rows say beyond the partial estimates.
    const R = levelRoot.subarray(i * K * K, (i + 1) * K * K);
    const back = transpose(R, K, K);
    const products = times(back, R, K, K, K);
    const beyond = times(R, times(root, found.effect.subarray(i * K, (i + 1) * K), K, K, 1), K, K, 1);
    for (let a = 0; a < K; a++) {
      beyond[a] = cross[(i * K + a) * c + p] - beyond[a];
      for (let j = 0; j < p; j++) beyond[a] -= cross[(i * K + a) * c + j] * at.beta[j];
    }
    const left = times(back, beyond, K, K, 1);
    for (let l = 0; l < K / k; l++) {
      const level = i + l;
      const own = Float64Array.from({ length: k * k }, (_, n) => products[(l * k + Math.floor(n / k)) * K + l * k + (n % k)]);
      const w = (choice.times ?? 1) * (level === choice.picked ? (choice.fade ?? 1) : 1);
      const further = ownEstimate(sums, own, left.subarray(l * k, (l + 1) * k), level);
      const weight = ownWeight(sums, own.map((value) => w * value), Lambda);
      for (let a = 0; a < k; a++) {
        found.own[level * k + a] = found.coefficient[level * k + a] + further[a];
        found.weight[level * k + a] = weight[a * k + a];
      }
    }
  }
  return found;
}

/** GZ'Z(GZ'Z + I)^-1 of one level, on the user's columns, G over s^2. */
function ownWeight(sums, own, Lambda) {
  const { k, root } = sums;
  const L = times(root, Lambda, k, k, k);
  const M = times(transpose(L, k, k), times(own, L, k, k, k), k, k, k);
  for (let a = 0; a < k; a++) M[a * k + a] += 1;
  const D = forward(cholesky(M, k), k, transpose(Lambda, k, k), k);
  return times(times(transpose(D, k, k), D, k, k, k), times(transpose(root, k, k), times(own, root, k, k, k), k, k, k), k, k, k);
}

/** row A^-1 row'. */
function squareOver(A, p, row) {
  return forward(A, p, row.slice(), 1).reduce((sum, value) => sum + value * value, 0);
}

/** From a partial estimate to least squares on the level's own rows; NaN where they do not determine it. */
function ownEstimate(sums, zz, moments, i) {
  const { k } = sums;
  if (!sums.determined[i]) return new Float64Array(k).fill(NaN);
  const size = Array.from({ length: k }, (_, a) => Math.sqrt(zz[a * k + a]) || 1);
  const F = cholesky(zz.map((value, at) => value / size[Math.floor(at / k)] / size[at % k]), k);
  const b = backward(F, k, forward(F, k, moments.map((value, a) => value / size[a]), 1));
  return times(sums.back, b.map((value, a) => value / size[a]), k, k, 1);
}

// ------------------------------------------------------------------------------------------------------- simulation

/** A uniform number in (0, 1) that depends on nothing but its address: more levels or rows leave the others as they are. */
function uniform(...address) {
  let h = 0x9e3779b9;
  for (const part of address) {
    h = Math.imul(h ^ (part + 0x7f4a7c15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
  }
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 4294967296 + 1 / 8589934592;
}

function normal(...address) {
  return Math.sqrt(-2 * Math.log(uniform(...address, 1))) * Math.cos(2 * Math.PI * uniform(...address, 2));
}

/** Draw rows of some groups, and sum them: an intercept, and with two effects a slope along x from -1 to 1. */
function simulate({ k, groups, rows, unequal, sds, correlation, sigma, seed }) {
  const p = k;
  const c = p + 1;
  const truth = [10, 2].slice(0, k);
  const sums = {
    k, p, q: groups, rows: 0, method: "reml", logRoot: 0, logWeights: 0, effects: ["intercept", "slope"].slice(0, k),
    n: [], levels: [], levelRoot: new Float64Array(groups * k * k), cross: new Float64Array(groups * k * c),
    rest: new Float64Array(groups * c * c), allRest: new Float64Array(c * c), determined: [], origin: truth,
    root: identity(k), back: identity(k), fixedBack: identity(p), shifts: [0, 1].slice(0, k), values: [],
  };
  for (let i = 0; i < groups; i++) {
    const n = unequal ? Math.max(1, Math.round(rows * Math.exp(2 * uniform(seed, i, 3) - 1.2))) : rows;
    const first = normal(seed, i, 4);
    const second = correlation * first + Math.sqrt(1 - correlation ** 2) * normal(seed, i, 5);
    const b = [sds[0] * first, (sds[1] ?? 0) * second];
    const x = Float64Array.from({ length: n }, (_, r) => (n > 1 ? (2 * r) / (n - 1) - 1 : 0));
    const y = x.map((at, r) => b[0] + (k > 1 ? b[1] * at : 0) + sigma * normal(seed, i, 6, r));
    const effects = [x.map(() => 1), x].slice(0, k);
    const columns = [...effects, ...effects, y].map((column) => column.slice());
    const { F, V } = peel(columns, k);
    sums.levelRoot.set(transpose(F, k, k), i * k * k);
    sums.cross.set(V, i * k * c);
    for (let a = 0; a < c; a++)
      for (let d = 0; d < c; d++) {
        const product = dot(columns[k + a], columns[k + d]);
        sums.rest[i * c * c + a * c + d] = product;
        sums.allRest[a * c + d] += product;
      }
    sums.n.push(n);
    sums.rows += n;
    sums.levels.push(String(i + 1));
    sums.determined.push(n >= k);
    sums.values.push(...truth.map((value, a) => value + b[a]));
  }
  return sums;
}

function identity(k) {
  return Float64Array.from({ length: k * k }, (_, at) => (Math.floor(at / k) === at % k ? 1 : 0));
}

/** The maximum of the restricted likelihood of one or two effects a level, by Nelder and Mead's simplex. */
function maximise(sums, starts) {
  const { k } = sums;
  const at = (x) => (k === 1 ? Float64Array.of(x[0]) : Float64Array.of(x[0], 0, x[1], x[2]));
  const cost = (x) => -logLikelihood(sums, at(x), {}, null);
  let best = null;
  for (const start of starts) {
    const found = simplex(cost, start);
    if (best === null || found.cost < best.cost) best = found;
  }
  const L = at(best.x);
  if (k === 1) return { ratios: [Math.abs(L[0])], correlation: 0 };
  const ratios = [Math.abs(L[0]), Math.hypot(L[2], L[3])];
  return { ratios, correlation: ratios[0] * ratios[1] > 1e-12 ? (L[0] * L[2]) / (ratios[0] * ratios[1]) : 0 };
}

function simplex(cost, start) {
  const d = start.length;
  const points = [start, ...start.map((_, j) => start.map((v, l) => (l === j ? v + 0.3 : v)))];
  const all = points.map((x) => ({ x, cost: cost(x) }));
  for (let step = 0; step < 400; step++) {
    all.sort((a, b) => a.cost - b.cost);
    if (all[d].cost - all[0].cost < 1e-11) break;
    const worst = all[d];
    const middle = start.map((_, l) => all.slice(0, d).reduce((sum, each) => sum + each.x[l] / d, 0));
    const along = (t) => {
      const x = middle.map((v, l) => v + t * (worst.x[l] - v));
      return { x, cost: cost(x) };
    };
    let next = along(-1);
    if (next.cost < all[0].cost) {
      const further = along(-2);
      if (further.cost < next.cost) next = further;
    } else if (next.cost >= all[d - 1].cost) next = along(next.cost < worst.cost ? -0.5 : 0.5);
    if (next.cost < worst.cost) all[d] = next;
    else
      for (let j = 1; j <= d; j++) {
        const x = all[j].x.map((v, l) => (v + all[0].x[l]) / 2);
        all[j] = { x, cost: cost(x) };
      }
  }
  return all.sort((a, b) => a.cost - b.cost)[0];
}

// ------------------------------------------------------------------------------------------------------------ words

/** A number with as many decimals as a scale calls for. */
function write(value, scale) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(scale) || Math.abs(value) || 1;
  if (size >= 1e7 || size < 1e-5) return value.toExponential(2).replace(/-/g, "−");
  return value.toFixed(Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(size))))).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
}

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999) ?? 10 * power;
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9); v * step <= high + 1e-9 * step; v++) found.push(v * step);
  return { values: found, step, text: (v) => (Math.abs(v) < 1e-9 * step ? "0" : write(v, step * 99)) };
}

/** Ticks along some pixels: as many as their labels leave room for. */
function axis(low, high, about, pixels) {
  for (let n = about; ; n--) {
    const marks = ticks(low, high, n);
    const widest = Math.max(0, ...marks.values.map((v) => widthOf(marks.text(v))));
    if (n <= 1 || (marks.step / (high - low)) * pixels > widest + 8) return { ...marks, widest };
  }
}

function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((f) => f * power).find((v) => v >= value * 0.999);
}

function plural(n, word) {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

// ----------------------------------------------------------------------------------------------------- page elements

const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  if (node.tabIndex >= 0 || tag === "summary") node.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would take its arrows
  node.append(...children);
  return node;
}

function shape(tag, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

let pen = null;

/** Pixels of a text in a picture. */
function widthOf(text, weight = 400) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `${weight} ${FONT}`;
  return pen.measureText(text).width;
}

/** The beginning of a text that has room, cut between characters as they are read. */
function shorten(text, room, weight) {
  if (widthOf(text, weight) <= room) return text;
  const letters = Array.from(new Intl.Segmenter().segment(text), (each) => each.segment);
  const cut = (n) => `${letters.slice(0, n).join("")}…`;
  let [n, most] = [0, letters.length];
  while (most - n > 1) {
    const middle = (n + most) >> 1;
    if (widthOf(cut(middle), weight) <= room) n = middle;
    else most = middle;
  }
  return cut(n);
}

/** A name among other words, in its own direction; where no element may stand, by marks. */
function named(text) {
  return make("bdi", {}, text);
}

function marked(text) {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

const STYLE = `
.bmm-explorer{max-width:72rem;font:15px/1.45 system-ui,sans-serif;color:inherit;container-type:inline-size;direction:ltr;text-align:left;overflow-wrap:anywhere}
.bmm-explorer *{box-sizing:border-box}
.bmm-explorer .bmm-body{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:flex-start}
.bmm-explorer .bmm-controls{flex:1 1 17rem;max-width:100%;min-width:0}
.bmm-explorer .bmm-picture{flex:2.2 1 20rem;min-width:0;max-width:100%;position:sticky;top:.5rem}
@container (max-width:${NARROW}px){.bmm-explorer .bmm-picture{flex-basis:100%;order:-1;position:static}}
.bmm-explorer h3{font-size:1.15em;margin:.2em 0;font-weight:600}
.bmm-explorer p{margin:.4em 0;max-width:44rem}
.bmm-explorer .bmm-quiet{opacity:.8;font-size:.92em}
.bmm-explorer fieldset{border:0;border-top:1px solid rgba(128,128,128,.45);margin:.6rem 0 0;padding:.3rem 0 0;min-width:0}
.bmm-explorer legend{font-weight:600;padding:0 .5em 0 0;font-size:.95em}
.bmm-explorer .bmm-slider{margin:.45rem 0}
.bmm-explorer .bmm-slider label{display:flex;justify-content:space-between;gap:1em}
.bmm-explorer output{font-variant-numeric:tabular-nums;white-space:nowrap}
.bmm-explorer .bmm-says output,.bmm-explorer output.bmm-says{white-space:normal}
.bmm-explorer input[type=range]{appearance:none;-webkit-appearance:none;width:100%;height:24px;margin:0;background:transparent;display:block}
.bmm-explorer input[type=range]::-webkit-slider-runnable-track{height:4px;border-radius:2px;background:rgba(128,128,128,.55)}
.bmm-explorer input[type=range]::-moz-range-track{height:4px;border-radius:2px;background:rgba(128,128,128,.55)}
.bmm-explorer input[type=range]::-webkit-slider-thumb{-webkit-appearance:none;width:18px;height:18px;margin-top:-7px;border-radius:50%;border:2px solid #fff;background:${COLOURS.partial};box-shadow:0 0 2px #000}
.bmm-explorer input[type=range]::-moz-range-thumb{width:14px;height:14px;border-radius:50%;border:2px solid #fff;background:${COLOURS.partial};box-shadow:0 0 2px #000}
.bmm-explorer input[type=range]:disabled{opacity:.45}
.bmm-explorer :focus-visible{outline:2px solid currentColor;outline-offset:2px;border-radius:3px}
.bmm-explorer svg{display:block;width:100%;overflow:visible;color:inherit}
.bmm-explorer svg text{fill:currentColor;font:${FONT};unicode-bidi:plaintext}
.bmm-explorer select,.bmm-explorer button,.bmm-explorer input[type=number]{font:inherit;color:inherit;background:transparent;border:1px solid rgba(128,128,128,.8);border-radius:4px;padding:.2em .5em;max-width:100%;min-height:1.9em}
.bmm-explorer option{color:CanvasText;background:Canvas}
.bmm-explorer button{cursor:pointer}
.bmm-explorer .bmm-row{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;margin:.45rem 0}
.bmm-explorer .bmm-row label{overflow-wrap:normal;display:inline-flex;gap:.4em;align-items:center;max-width:100%}
.bmm-explorer .bmm-row select{min-width:0;flex:0 1 auto}
.bmm-explorer .bmm-key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.88em;margin:.3rem 0;padding:0;list-style:none}
.bmm-explorer .bmm-key li{display:inline-flex;gap:.4em;align-items:center;margin:0}
.bmm-explorer .bmm-key svg{width:22px;height:14px;flex:none}
.bmm-explorer [data-level]{cursor:pointer}
.bmm-explorer details{margin:.6rem 0}
.bmm-explorer summary{cursor:pointer}
.bmm-explorer .bmm-scroll{overflow-x:auto;max-height:24rem;overflow-y:auto}
.bmm-explorer table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92em;background:transparent}
.bmm-explorer th,.bmm-explorer td{padding:.15em .6em;text-align:right;border:0;border-bottom:1px solid rgba(128,128,128,.3);background:transparent;color:inherit}
.bmm-explorer th[scope=row]{text-align:left;min-width:6em;max-width:16em;font-weight:400}
.bmm-explorer [hidden]{display:none!important}
[data-jp-theme-light=false] .bmm-explorer,.vscode-dark .bmm-explorer{color-scheme:dark}
[data-jp-theme-light=true] .bmm-explorer,.vscode-light .bmm-explorer{color-scheme:light}
@media (forced-colors:active){.bmm-explorer input[type=range]::-webkit-slider-runnable-track{background:CanvasText;forced-color-adjust:none}.bmm-explorer input[type=range]::-webkit-slider-thumb{background:Highlight;forced-color-adjust:none}}
@media print{.bmm-explorer .bmm-actions{display:none}.bmm-explorer .bmm-scroll{max-height:none;overflow:visible}.bmm-explorer{font-size:10pt}}
`;

/** A labelled native slider with its value beside it, and room for marks under it. */
class Slider {
  constructor(prefix, name, label, { low, high, value, logarithmic = false, whole = false, text, changed }) {
    this.low = low;
    this.high = high;
    this.logarithmic = logarithmic;
    this.whole = whole;
    this.text = text ?? ((v) => write(v, this.high - this.low));
    const id = `${prefix}-${name}`;
    const steps = whole ? high - low : STEPS;
    this.input = make("input", { type: "range", id, min: 0, max: steps, step: 1 });
    this.input.name = name;
    this.steps = steps;
    this.output = make("output", { htmlFor: id });
    this.output.setAttribute("aria-live", "off"); // the slider says its own value
    this.marks = shape("svg", { "aria-hidden": "true", height: 0 });
    this.label = make("span", {}, label);
    this.node = make("div", { className: "bmm-slider" }, make("label", { htmlFor: id }, this.label, this.output), this.input, this.marks);
    this.set(value);
    this.input.addEventListener("input", () => {
      this.value = this.valueAt(Number(this.input.value) / steps);
      this.say();
      changed(this.value);
    });
  }

  valueAt(share) {
    if (this.logarithmic) return this.low * (this.high / this.low) ** share;
    const value = this.low + share * (this.high - this.low);
    return this.whole ? Math.round(value) : value;
  }

  shareOf(value) {
    const share = this.logarithmic ? Math.log(value / this.low) / Math.log(this.high / this.low) : (value - this.low) / (this.high - this.low);
    return Math.min(1, Math.max(0, share));
  }

  set(value) {
    this.value = value;
    this.input.value = String(Math.round(this.shareOf(value) * this.steps));
    this.say();
  }

  say() {
    const text = this.text(this.value);
    this.output.replaceChildren(make("data", { value: String(this.value) }, text));
    this.input.setAttribute("aria-valuetext", text);
  }

  /** Draw the likelihood along the slider, the posterior's density, and marks with their colours. */
  mark(width, { curve = null, density = null, marks = [] }) {
    const height = curve || density ? 34 : 10;
    const inset = 9; // half a thumb
    const x = (value) => inset + this.shareOf(value) * (width - 2 * inset);
    const parts = [];
    if (density) {
      const { edges, heights } = density;
      const most = Math.max(...heights);
      let path = `M${x(edges[0])} ${height}`;
      heights.forEach((h, j) => (path += `V${height - (h / most) * (height - 3)}H${x(edges[j + 1])}`));
      parts.push(shape("path", { d: `${path}V${height}Z`, fill: COLOURS.posterior, "fill-opacity": 0.42, class: "bmm-density" }));
    }
    if (curve) {
      const d = curve.map(([value, h], j) => `${j ? "L" : "M"}${x(value).toFixed(1)} ${(height - h * (height - 3)).toFixed(1)}`);
      parts.push(shape("path", { d: d.join(""), fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-opacity": 0.75, class: "bmm-curve" }));
    }
    for (const { value, kind } of marks)
      if (Number.isFinite(value)) {
        const top = height > 20 ? 0 : 1;
        const dash = kind === "truth" ? { "stroke-dasharray": "3 2" } : {};
        parts.push(shape("line", { x1: x(value), x2: x(value), y1: top, y2: height, stroke: COLOURS[kind], "stroke-width": 3, class: `bmm-mark-${kind}`, "data-value": value, ...dash }));
      }
    parts.push(shape("line", { x1: inset, x2: width - inset, y1: height, y2: height, stroke: "rgba(128,128,128,.5)" }));
    this.marks.setAttribute("height", height);
    this.marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.marks.replaceChildren(...parts);
  }
}

/** The data as Python wrote them, with their sums unpacked. */
function readData(data) {
  const numbers = (name) => (data[name] === null ? null : unpack(data[name]));
  const lost = new Set(data.undetermined);
  const sums = { ...data, method: data.method, determined: data.levels.map((_, i) => !lost.has(i)), values: null };
  for (const name of ["levelRoot", "cross", "rest", "allRest", "root", "back", "fixedBack", "origin"]) sums[name] = numbers(name);
  if (data.posterior) {
    sums.posterior = { ...data.posterior, means: unpack(data.posterior.means) };
  }
  return sums;
}

// --------------------------------------------------------------------------------------------------------- explorer

class Explorer {
  constructor(data, el, key) {
    this.prefix = key ?? `bmm-explorer-${Math.random().toString(36).slice(2, 10)}`; // ids of its own on any page
    this.given = readData(data);
    this.data = data;
    this.state = { mode: "data", picked: -1, fade: 1, times: 1, sigmaHeld: data.knownSigma, layer: "fixed", view: 0 };
    this.truth = { groups: 24, rows: 8, unequal: true, sds: [1, 0.8], correlation: 0.3, sigma: 1.5, seed: 2 };
    this.root = make("section", { className: "bmm-explorer" });
    this.root.setAttribute("aria-label", "Shrinkage explorer");
    this.root.lang = "en";
    el.append(make("style", {}, STYLE), this.root);
    this.build();
    this.observer = new ResizeObserver(() => {
      if (this.width === this.picture.clientWidth) return;
      this.draw();
      this.markSliders();
    });
    this.observer.observe(this.picture);
  }

  close() {
    this.observer.disconnect();
    clearTimeout(this.later);
    clearTimeout(this.saying);
  }

  /** Take up the sums of the chosen mode, and go to their REML estimate. */
  take() {
    const { state, data } = this;
    if (state.mode === "data") {
      this.sums = this.given;
      this.best = { ratios: data.ratios, correlations: data.correlations, sigma: data.sigma };
    } else {
      const k = Math.min(2, this.given.k);
      const { truth } = this;
      this.sums = simulate({ k, ...truth });
      const start = [truth.sds[0] / truth.sigma, ...(k > 1 ? [0, truth.sds[1] / truth.sigma] : [])];
      const found = maximise(this.sums, [start, k > 1 ? [0.3, 0.1, 0.3] : [0.3]]);
      const r = found.correlation;
      const correlations = k > 1 ? [1, r, r, 1] : [1];
      const sigma = evaluate(this.sums, factorOf(found.ratios, correlations), {}).sigma;
      this.best = { ratios: found.ratios, correlations, sigma };
    }
    if (state.picked >= this.sums.q) state.picked = -1;
  }

  toBest() {
    Object.assign(this.state, {
      ratios: [...this.best.ratios], correlations: [...this.best.correlations], fade: 1, times: 1,
      sigmaHeld: this.state.mode === "data" ? this.data.knownSigma : null,
    });
  }

  get effects() {
    return this.sums.effects;
  }

  build() {
    this.take();
    this.toBest();
    const { data, prefix } = this;
    const title = make("h3", {}, "Partial pooling, by hand");
    this.intro = make("p", { className: "bmm-quiet" });
    const modes = make("div", { className: "bmm-row bmm-actions" });
    modes.setAttribute("role", "radiogroup");
    modes.setAttribute("aria-label", "Data");
    for (const [value, text] of [["data", "your data"], ["simulated", "simulated data"]]) {
      const input = make("input", { type: "radio", value, checked: value === "data" });
      input.name = `${prefix}-mode`;
      input.addEventListener("change", () => this.switchTo(value));
      modes.append(make("label", {}, input, text));
    }
    this.controls = make("div", { className: "bmm-controls" });
    this.picture = make("div", { className: "bmm-picture" });
    this.views = make("select", { id: `${prefix}-view` });
    this.views.addEventListener("change", () => {
      this.state.view = Number(this.views.value);
      this.order();
      this.show();
    });
    this.layers = make("select", { id: `${prefix}-layer` });
    this.layers.append(
      make("option", { value: "fixed" }, "with the fixed effects' error"),
      make("option", { value: "given" }, "given the fixed effects"),
    );
    this.layers.addEventListener("change", () => {
      this.state.layer = this.layers.value;
      this.show();
    });
    const choose = make("div", { className: "bmm-row bmm-actions" },
      make("label", {}, "show ", this.views), make("label", {}, "intervals ", this.layers));
    this.figure = shape("svg", { role: "img" });
    this.key = make("ul", { className: "bmm-key" });
    this.remark = make("p", { className: "bmm-quiet" });
    this.picture.append(choose, this.key, this.figure, this.remark);
    this.says = make("output", { className: "bmm-says" });
    this.says.setAttribute("aria-live", "polite");
    this.table = make("div", { className: "bmm-scroll", tabIndex: 0 });
    this.table.setAttribute("role", "region");
    this.table.setAttribute("aria-label", "Numbers of every level");
    this.details = make("details", {}, make("summary", {}, "The numbers as a table"), this.table);
    this.details.addEventListener("toggle", () => this.tabulate());
    this.root.append(title, this.intro, modes, make("div", { className: "bmm-body" }, this.controls, this.picture),
      make("p", {}, this.says), this.details, this.explanation());
    this.root.setAttribute("data-model", data.formula);
    this.buildControls();
  }

  introduction() {
    const { data } = this;
    const what = this.state.mode === "data"
      ? [named(data.formula), ` — ${plural(data.q, "level")} of `, named(data.group), `, ${plural(data.rows, "row")}.`]
      : [`Drawn here, with a known truth: an intercept${this.sums.k > 1 ? ", and a slope along x from −1 to 1," : ""} for each level.`];
    return [...what, " Move the standard deviation of the effects between levels: at zero all levels share one estimate, far to the right each has its own."];
  }

  explanation() {
    const { data } = this;
    const sigma = data.knownSigma === null
      ? "σ is estimated anew wherever the sliders stand (its best value there, as in the fit), so that at the estimate every number is the fit's. Hold it to see noise alone: the standard deviations of the effects then stay, and their ratio to σ falls as σ rises."
      : "σ is known in this model, and is held.";
    const texts = [
      sigma,
      `Fixed effects are estimated anew at every position, by generalised least squares. A level's own estimate is least squares on its own rows, all else as estimated${data.held ? " (of the other grouping factors: their variances)" : ""}. Weight is how much of it stays in the partial estimate.`,
      "A row that counts twice is as good as two rows. Fading a level out lets its rows count for less and less: at zero its estimate is what the population says, with an interval as wide as levels differ.",
      `Curves under sliders: the ${data.method === "reml" ? "restricted " : ""}likelihood along that slider, the others where they stand.${data.posterior ? " Areas: the posterior's density. A Bayesian estimate is an average of what the picture shows, over the sliders' positions, with these weights; ◇ is that average." : ""}`,
      ...data.remarks,
    ];
    return make("details", {}, make("summary", {}, "What is computed"), ...texts.map((text) => make("p", {}, text)));
  }

  switchTo(mode) {
    this.state.mode = mode;
    this.state.picked = -1;
    this.state.view = 0;
    this.take();
    this.toBest();
    this.buildControls();
  }

  /** Make the sliders of the chosen mode. */
  buildControls() {
    const { state, prefix, data } = this;
    const { k } = this.sums;
    this.intro.replaceChildren(...this.introduction());
    this.drawn = make("fieldset", {}, make("legend", {}, "Simulated data"));
    if (state.mode === "simulated") this.buildTruth();
    const group = make("fieldset", {}, make("legend", {}, "Between levels"));
    this.ratioSliders = this.effects.map((effect, a) => {
      const slider = new Slider(prefix, `ratio-${a}`, `sd(${marked(effect)}) / σ`, {
        low: 0, high: this.reach(a), value: state.ratios[a],
        changed: (value) => { state.ratios[a] = value; this.update(slider); },
      });
      group.append(slider.node);
      return slider;
    });
    this.correlationSlider = null;
    if (k === 2 && (state.mode === "simulated" || data.correlated)) {
      this.correlationSlider = new Slider(prefix, "correlation", "correlation", {
        low: -1, high: 1, value: state.correlations[1],
        changed: (r) => { state.correlations = [1, r, r, 1]; this.update(this.correlationSlider); },
      });
      group.append(this.correlationSlider.node);
    }
    const key = make("ul", { className: "bmm-key" });
    key.append(this.entry("line", "partial", data.method === "ml" && state.mode === "data" ? "ML" : "REML"));
    key.append(this.entry("curve", null, "likelihood"));
    if (state.mode === "data" && data.posterior) key.append(this.entry("area", "posterior", "posterior"));
    if (state.mode === "simulated") key.append(this.entry("line", "truth", "truth"));
    group.append(key);
    const rows = make("fieldset", {}, make("legend", {}, "Noise and rows"));
    this.holdSigma = make("input", { type: "checkbox", id: `${prefix}-hold`, checked: state.sigmaHeld !== null });
    this.holdSigma.disabled = state.mode === "data" && data.knownSigma !== null;
    this.holdSigma.addEventListener("change", () => {
      state.sigmaHeld = this.holdSigma.checked ? this.values.sigma : null;
      this.update();
    });
    this.sigmaSlider = new Slider(prefix, "sigma", "σ", {
      low: this.best.sigma / 5, high: this.best.sigma * 5, value: this.best.sigma, logarithmic: true,
      text: (v) => write(v, this.best.sigma),
      changed: (value) => {
        const before = state.sigmaHeld ?? this.values.sigma;
        state.sigmaHeld = value;
        state.ratios = state.ratios.map((ratio) => (ratio * before) / value);
        this.holdSigma.checked = true;
        this.update(this.sigmaSlider);
      },
    });
    this.timesSlider = new Slider(prefix, "times", "each row counts", {
      low: 0.1, high: 10, value: 1, logarithmic: true, text: (v) => `${write(v, v)} times`,
      changed: (value) => { state.times = value; this.update(this.timesSlider); },
    });
    rows.append(make("div", { className: "bmm-row" }, make("label", { htmlFor: this.holdSigma.id }, this.holdSigma, "hold σ")),
      this.sigmaSlider.node, this.timesSlider.node);
    const one = make("fieldset", {}, make("legend", {}, "One level"));
    this.picker = make("select", { id: `${prefix}-level` });
    this.fillPicker();
    this.picker.addEventListener("change", () => this.pick(Number(this.picker.value)));
    this.fadeSlider = new Slider(prefix, "fade", "its rows count", {
      low: 0, high: 1, value: 1, changed: (value) => { state.fade = value; this.update(this.fadeSlider); },
    });
    one.append(make("div", { className: "bmm-row" }, make("label", { htmlFor: this.picker.id }, "level ", this.picker)), this.fadeSlider.node);
    const reset = make("button", { type: "button" }, "back to the estimate");
    reset.addEventListener("click", () => {
      this.toBest();
      this.update();
    });
    this.controls.replaceChildren(...(state.mode === "simulated" ? [this.drawn] : []), group, rows, one,
      make("div", { className: "bmm-row bmm-actions" }, reset));
    this.views.replaceChildren(...this.effects.map((effect, a) => make("option", { value: String(a) }, effect)));
    if (k === 2) this.views.append(make("option", { value: "2" }, "both, as a plane"));
    this.views.value = String(state.view);
    this.order();
    this.update();
  }

  buildTruth() {
    const { truth, prefix } = this;
    const { k } = this.sums;
    const again = () => {
      this.take();
      this.toBest();
      this.refill();
      this.order();
      this.update();
    };
    const slider = (name, label, options, changed) =>
      this.drawn.append(new Slider(prefix, name, label, { ...options, changed: (v) => { changed(v); again(); } }).node);
    slider("groups", "levels", { low: 3, high: 100, value: truth.groups, whole: true, text: (v) => String(v) }, (v) => (truth.groups = v));
    slider("rows", "rows a level", { low: 2, high: 60, value: truth.rows, whole: true, text: (v) => String(v) }, (v) => (truth.rows = v));
    slider("true-sigma", "noise σ", { low: 0.2, high: 6, value: truth.sigma }, (v) => (truth.sigma = v));
    for (let a = 0; a < k; a++)
      slider(`true-sd-${a}`, `sd(${marked(this.effects[a])})`, { low: 0, high: 4, value: truth.sds[a] }, (v) => (truth.sds[a] = v));
    if (k > 1) slider("true-correlation", "correlation", { low: -1, high: 1, value: truth.correlation }, (v) => (truth.correlation = v));
    const unequal = make("input", { type: "checkbox", id: `${prefix}-unequal`, checked: truth.unequal });
    unequal.addEventListener("change", () => { truth.unequal = unequal.checked; again(); });
    const draw = make("button", { type: "button" }, "draw anew");
    const seed = make("output", {}, `seed ${truth.seed}`);
    draw.addEventListener("click", () => { truth.seed += 1; seed.textContent = `seed ${truth.seed}`; again(); });
    this.drawn.append(make("div", { className: "bmm-row" }, make("label", { htmlFor: unequal.id }, unequal, "levels differ in rows"), draw, seed));
  }

  fillPicker() {
    this.picker.replaceChildren(make("option", { value: "-1" }, "none"),
      ...this.sums.levels.map((level, i) => make("option", { value: String(i) }, `${marked(level)} (${plural(this.sums.n[i], "row")})`)));
  }

  /** Rename the levels in the list, and the ends of sliders, after other data were drawn. */
  refill() {
    this.fillPicker();
    this.ratioSliders.forEach((slider, a) => (slider.high = this.reach(a)));
    this.sigmaSlider.low = this.best.sigma / 5;
    this.sigmaSlider.high = this.best.sigma * 5;
  }

  /** The right end of a ratio's slider. */
  reach(a) {
    if (this.state.mode === "data") return this.data.reach[a];
    return Math.max(1.5, round(2.5 * this.best.ratios[a] + 1e-9), round((1.5 * this.truth.sds[a]) / this.truth.sigma + 1e-9));
  }

  /** Levels by their own estimates, largest on top, once for all positions of the sliders. */
  order() {
    const { k, q } = this.sums;
    const a = Math.min(this.state.view, k - 1);
    const at = evaluate(this.sums, factorOf(this.best.ratios, this.best.correlations), {}, this.state.mode === "data" ? this.data.knownSigma : null);
    const key = (i) => (Number.isFinite(at.own[i * k + a]) ? at.own[i * k + a] : at.coefficient[i * k + a]);
    this.sorted = Array.from({ length: q }, (_, i) => i).sort((i, j) => key(j) - key(i));
    this.frames = this.effects.map((_, b) => frame(at, k, b, this.data.z));
  }

  pick(i) {
    const { state } = this;
    state.picked = state.picked === i ? -1 : i;
    state.fade = 1;
    this.update();
  }

  /** Compute and draw; the slider that a hand is on keeps its own value. */
  update(moved = null) {
    const { state } = this;
    const Lambda = factorOf(state.ratios, state.correlations);
    this.values = evaluate(this.sums, Lambda, state, state.sigmaHeld);
    this.ratioSliders.forEach((slider, a) => slider !== moved && slider.set(state.ratios[a]));
    if (this.correlationSlider && this.correlationSlider !== moved) this.correlationSlider.set(state.correlations[1]);
    if (this.sigmaSlider !== moved) this.sigmaSlider.set(this.values.sigma);
    if (this.timesSlider !== moved) this.timesSlider.set(state.times);
    if (this.fadeSlider !== moved) this.fadeSlider.set(state.fade);
    this.sigmaSlider.input.disabled = this.holdSigma.disabled;
    this.holdSigma.checked = state.sigmaHeld !== null;
    this.fadeSlider.input.disabled = state.picked < 0 || this.sums.rest === null;
    this.timesSlider.input.disabled = state.mode === "data" && this.data.held;
    this.picker.value = String(state.picked);
    this.show();
    clearTimeout(this.later);
    if (this.sums.q > 400 || this.sums.tied) this.later = setTimeout(() => this.markSliders(), 120);
    else this.markSliders();
  }

  show() {
    this.draw();
    this.tabulate();
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.speak(), 300);
  }

  markSliders() {
    const { state, best, truth } = this;
    const simulated = state.mode === "simulated";
    const posterior = simulated ? null : this.sums.posterior;
    const width = Math.max(120, this.controls.clientWidth || 280);
    const curve = (slider, place) => {
      const at = (value) => [value, logLikelihood(this.sums, place(value), state, state.sigmaHeld)];
      let points = Array.from({ length: CURVE }, (_, j) => at(slider.valueAt(j / (CURVE - 1))));
      const top = points.reduce((best, point, j) => (point[1] > points[best][1] ? j : best), 0);
      const [from, to] = [points[Math.max(0, top - 1)][0], points[Math.min(CURVE - 1, top + 1)][0]];
      for (let j = 1; j < FINER; j++) points.push(at(from + ((to - from) * j) / FINER));
      points = points.filter((point) => Number.isFinite(point[1])).sort((one, other) => one[0] - other[0]);
      const most = points.reduce((best, point) => Math.max(best, point[1]), -Infinity);
      return points.map(([value, height]) => [value, Math.exp(height - most)]);
    };
    this.ratioSliders.forEach((slider, a) => {
      const place = (value) => factorOf(state.ratios.map((r, b) => (a === b ? value : r)), state.correlations);
      slider.mark(width, {
        curve: curve(slider, place), density: posterior?.ratios[a] ?? null,
        marks: [{ value: best.ratios[a], kind: "partial" }, ...(simulated ? [{ value: truth.sds[a] / truth.sigma, kind: "truth" }] : [])],
      });
    });
    this.correlationSlider?.mark(width, {
      curve: curve(this.correlationSlider, (r) => factorOf(state.ratios, [1, r, r, 1])), density: posterior?.correlation ?? null,
      marks: [{ value: best.correlations[1], kind: "partial" }, ...(simulated ? [{ value: truth.correlation, kind: "truth" }] : [])],
    });
    this.sigmaSlider.mark(width, { density: posterior?.sigma ?? null,
      marks: [{ value: best.sigma, kind: "partial" }, ...(simulated ? [{ value: truth.sigma, kind: "truth" }] : [])] });
  }

  /** Standard deviation of what the picture shows. */
  sdAt(here) {
    return this.state.layer === "given" ? this.values.sd[here] : this.values.sdCoefficient[here];
  }

  speak() {
    const { values, state } = this;
    const { k, q } = this.sums;
    const parts = [];
    for (let a = 0; a < k; a++) {
      let sum = 0;
      for (let i = 0; i < q; i++) sum += values.weight[i * k + a];
      const scale = values.sigma;
      parts.push(`sd(${marked(this.effects[a])}) is ${write(state.ratios[a] * values.sigma, state.ratios[a] * scale || scale)}: a level's own estimate has a weight of ${write(sum / q, 1)} on average`);
    }
    const words = [`σ is ${write(values.sigma, values.sigma)}. ${parts.join(". ")}.`];
    if (state.picked >= 0) {
      const a = Math.min(state.view, k - 1);
      const here = state.picked * k + a;
      const scale = this.frames[a].high - this.frames[a].low;
      words.push(" ", named(this.effects[a]), " of ", named(this.sums.levels[state.picked]), `: alone ${write(values.own[here], scale)}, partial ${write(values.coefficient[here], scale)} ± ${write(this.data.z * this.sdAt(here), scale)}, all levels ${write(values.centre[a], scale)}.`);
    }
    this.says.replaceChildren(...words);
  }

  entry(mark, kind, text) {
    const colour = kind ? COLOURS[kind] : "currentColor";
    const svg = shape("svg", { viewBox: "0 0 22 14", "aria-hidden": "true" });
    const draw = {
      line: () => shape("line", { x1: 11, x2: 11, y1: 1, y2: 13, stroke: colour, "stroke-width": 3, ...(kind === "truth" ? { "stroke-dasharray": "3 2" } : {}) }),
      curve: () => shape("path", { d: "M1 13C8 13 7 2 11 2S14 13 21 13", fill: "none", stroke: colour, "stroke-width": 1.5 }),
      area: () => shape("path", { d: "M1 13V10H6V5H11V3H15V9H21V13Z", fill: colour, "fill-opacity": 0.4 }),
      partial: () => shape("path", { d: "M1 7H21M8 4H14V10H8Z", fill: colour, stroke: colour, "stroke-width": 1.8 }),
      own: () => shape("path", { d: "M7 3L15 11M15 3L7 11", stroke: colour, "stroke-width": 2 }),
      all: () => shape("line", { x1: 11, x2: 11, y1: 0, y2: 14, stroke: colour, "stroke-width": 2, "stroke-dasharray": "5 2 1 2" }),
      star: () => shape("path", { d: "M11 1L17 7L11 13L5 7Z", fill: colour }),
      diamond: () => shape("path", { d: "M11 2L16 7L11 12L6 7Z", fill: "none", stroke: colour, "stroke-width": 2 }),
      ring: () => shape("circle", { cx: 11, cy: 7, r: 4, fill: "none", stroke: colour, "stroke-width": 2 }),
      ellipse: () => shape("ellipse", { cx: 11, cy: 7, rx: 9, ry: 5, fill: "none", stroke: "currentColor", "stroke-opacity": 0.6, "stroke-dasharray": "4 3" }),
    }[mark];
    svg.append(draw());
    return make("li", {}, svg, text);
  }

  draw() {
    this.width = this.picture.clientWidth;
    const width = Math.max(260, this.width || 600);
    const plane = this.state.view === 2 && this.sums.k === 2;
    const simulated = this.state.mode === "simulated";
    const percent = `${write(100 * this.data.level, 100)} %`.replace(/\.0+ %/, " %");
    this.key.replaceChildren(
      this.entry("own", "own", "alone"),
      this.entry("partial", "partial", plane ? "partial" : `partial, with its ${percent} interval`),
      plane ? this.entry("star", "all", "all levels") : this.entry("all", "all", "all levels"),
      ...(simulated ? [this.entry("ring", "truth", "truth")] : []),
      ...(!simulated && this.sums.posterior ? [this.entry("diamond", "posterior", "posterior mean")] : []),
      ...(plane ? [this.entry("ellipse", null, "where most levels are expected")] : []),
    );
    if (plane) this.drawPlane(width);
    else this.drawDots(width);
  }

  /** Which levels are drawn, in order: all of them, or every so many and the picked one. */
  shown(most = MOST_DRAWN) {
    const { sorted } = this;
    const every = Math.ceil(sorted.length / most);
    const some = every === 1 ? sorted : sorted.filter((i, at) => at % every === 0 || i === this.state.picked);
    const words = every === 1 ? "" : `${some.length} of ${sorted.length} levels are drawn, all are computed. `;
    return { some, words };
  }

  drawDots(width) {
    const { values, state, data } = this;
    const { k, levels } = this.sums;
    const a = Math.min(state.view, k - 1);
    // Above the sliders it leaves them room in the window.
    const tall = this.root.clientWidth < NARROW ? Math.max(240, Math.min(TALLEST, 0.45 * window.innerHeight)) : TALLEST;
    const { some, words } = this.shown(tall < TALLEST ? Math.floor(tall / 3) : MOST_DRAWN);
    const labelled = some.length <= LABELLED;
    const row = labelled ? Math.max(14, Math.min(20, tall / some.length)) : Math.max(3, Math.min(12, tall / some.length));
    const longest = labelled ? Math.max(...some.map((i) => widthOf(levels[i], 700))) : 0;
    const left = labelled ? Math.min(width * 0.3, 14 + longest) : 12;
    const right = 14;
    const height = some.length * row + 44;
    const { low, high } = this.frames[a];
    const x = (v) => left + ((Math.min(high, Math.max(low, v)) - low) / (high - low)) * (width - left - right);
    const parts = [];
    const marks = axis(low, high, width < 480 ? 4 : 7, width - left - right);
    const bottom = some.length * row + 8;
    for (const v of marks.values) {
      parts.push(shape("line", { x1: x(v), x2: x(v), y1: 4, y2: bottom, stroke: "rgba(128,128,128,.25)" }));
      const middle = Math.min(width - marks.widest / 2, Math.max(marks.widest / 2, x(v)));
      parts.push(shape("text", { x: middle, y: bottom + 16, "text-anchor": "middle" }, marks.text(v)));
    }
    const title = `${marked(this.effects[a])}${state.mode === "data" ? ` by ${marked(data.group)}` : ""}`;
    parts.push(shape("text", { x: width / 2, y: bottom + 34, "text-anchor": "middle" }, shorten(title, width)));
    const centre = values.centre[a];
    parts.push(shape("line", { x1: x(centre), x2: x(centre), y1: 4, y2: bottom, stroke: COLOURS.all, "stroke-width": 2, "stroke-dasharray": "8 3 2 3", class: "bmm-all" }));
    let beyond = 0;
    some.forEach((i, at) => {
      const y = 8 + (at + 0.5) * row;
      const here = i * k + a;
      const own = values.own[here];
      const estimate = values.coefficient[here];
      const half = data.z * this.sdAt(here);
      const picked = i === state.picked;
      const node = shape("g", { "data-level": i });
      node.append(shape("title", {}, `${levels[i]}: alone ${write(own, high - low)}, partial ${write(estimate, high - low)}`));
      node.append(shape("rect", { x: 0, y: y - row / 2, width, height: row, fill: picked ? "rgba(230,159,0,.22)" : "transparent" }));
      if (labelled) {
        const weight = picked ? 700 : 400;
        const name = shorten(levels[i], left - 10, weight);
        node.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end", style: `font-weight:${weight}` }, name));
      }
      const size = Math.min(3.5, row * 0.32);
      if (Number.isFinite(own)) {
        if (own < low || own > high) beyond += 1;
        const strength = picked ? 0.25 + 0.75 * state.fade : 1;
        node.append(shape("line", { x1: x(own), x2: x(estimate), y1: y, y2: y, stroke: COLOURS.own, "stroke-opacity": 0.7, "stroke-width": 1 }));
        node.append(shape("path", { d: cross(x(own), y, size), stroke: COLOURS.own, "stroke-width": 1.8, "stroke-opacity": strength, class: "bmm-own" }));
      }
      node.append(shape("line", { x1: x(estimate - half), x2: x(estimate + half), y1: y, y2: y, stroke: COLOURS.partial, "stroke-width": Math.min(2.2, row / 3), "stroke-linecap": "round" }));
      node.append(shape("rect", { x: x(estimate) - size, y: y - size, width: 2 * size, height: 2 * size, fill: COLOURS.partial, class: "bmm-partial" }));
      if (state.mode === "simulated")
        node.append(shape("circle", { cx: x(this.sums.values[here]), cy: y, r: size + 0.5, fill: "none", stroke: COLOURS.truth, "stroke-width": 1.6 }));
      else if (this.sums.posterior)
        node.append(shape("path", { d: diamond(x(this.sums.posterior.means[here]), y, size + 1), fill: "none", stroke: COLOURS.posterior, "stroke-width": 1.8, class: "bmm-posterior" }));
      parts.push(node);
    });
    const outside = beyond ? `${plural(beyond, "estimate")} alone ${beyond === 1 ? "lies" : "lie"} beyond the picture, drawn at its edge. ` : "";
    this.finish(width, height, parts, words + outside, `${title}: estimates of ${plural(some.length, "level")}, alone and partially pooled; the numbers are in the table below.`);
  }

  drawPlane(width) {
    const { values, state } = this;
    const { levels } = this.sums;
    const { some, words } = this.shown();
    const height = Math.round(Math.min(width * 0.8, 560)) + 44;
    const [across, up] = this.frames;
    const right = 14;
    const bottom = height - 40;
    const marksY = ticks(up.low, up.high, 6);
    const left = 30 + Math.max(0, ...marksY.values.map((v) => widthOf(marksY.text(v))));
    const hold = (v, { low, high }) => Math.min(high, Math.max(low, v));
    const x = (v) => left + ((hold(v, across) - across.low) / (across.high - across.low)) * (width - left - right);
    const y = (v) => bottom - ((hold(v, up) - up.low) / (up.high - up.low)) * (bottom - 8);
    const parts = [];
    const marksX = axis(across.low, across.high, width < 480 ? 4 : 7, width - left - right);
    for (const v of marksX.values) {
      parts.push(shape("line", { x1: x(v), x2: x(v), y1: 8, y2: bottom, stroke: "rgba(128,128,128,.25)" }));
      parts.push(shape("text", { x: x(v), y: bottom + 16, "text-anchor": "middle" }, marksX.text(v)));
    }
    for (const v of marksY.values) {
      parts.push(shape("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), stroke: "rgba(128,128,128,.25)" }));
      parts.push(shape("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, marksY.text(v)));
    }
    parts.push(shape("text", { x: width / 2, y: bottom + 34, "text-anchor": "middle" }, shorten(this.effects[0], width)));
    parts.push(shape("text", { x: 12, y: bottom / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${bottom / 2})` }, shorten(this.effects[1], bottom)));
    const L = factorOf(state.ratios, state.correlations);
    const far = values.sigma * 2.4477; // a circle that holds 95 % of a bivariate normal
    const around = Array.from({ length: 73 }, (_, j) => {
      const [c, s] = [Math.cos((j * Math.PI) / 36), Math.sin((j * Math.PI) / 36)];
      return `${j ? "L" : "M"}${x(values.centre[0] + far * L[0] * c).toFixed(1)} ${y(values.centre[1] + far * (L[2] * c + L[3] * s)).toFixed(1)}`;
    });
    parts.push(shape("path", { d: around.join(""), fill: "none", stroke: "currentColor", "stroke-opacity": 0.55, "stroke-dasharray": "4 3" }));
    for (const i of some) {
      const picked = i === state.picked;
      const [own, estimate] = [values.own, values.coefficient].map((of) => [of[2 * i], of[2 * i + 1]]);
      const node = shape("g", { "data-level": i });
      node.append(shape("title", {}, levels[i]));
      const at = [x(estimate[0]), y(estimate[1])];
      if (picked) node.append(shape("circle", { cx: at[0], cy: at[1], r: 11, fill: "rgba(230,159,0,.35)" }));
      if (Number.isFinite(own[0])) {
        node.append(shape("line", { x1: x(own[0]), y1: y(own[1]), x2: at[0], y2: at[1], stroke: COLOURS.own, "stroke-opacity": 0.7 }));
        node.append(shape("path", { d: cross(x(own[0]), y(own[1]), 3.5), stroke: COLOURS.own, "stroke-width": 1.8, class: "bmm-own" }));
      }
      node.append(shape("rect", { x: at[0] - 3.5, y: at[1] - 3.5, width: 7, height: 7, fill: COLOURS.partial, class: "bmm-partial" }));
      if (state.mode === "simulated")
        node.append(shape("circle", { cx: x(this.sums.values[2 * i]), cy: y(this.sums.values[2 * i + 1]), r: 4.5, fill: "none", stroke: COLOURS.truth, "stroke-width": 1.6 }));
      else if (this.sums.posterior)
        node.append(shape("path", { d: diamond(x(this.sums.posterior.means[2 * i]), y(this.sums.posterior.means[2 * i + 1]), 4.5), fill: "none", stroke: COLOURS.posterior, "stroke-width": 1.8, class: "bmm-posterior" }));
      if (picked) {
        const name = shorten(levels[i], width / 2 - 10, 700);
        const before = at[0] > width / 2;
        node.append(shape("text", { x: at[0] + (before ? -9 : 9), y: at[1] - 8, "text-anchor": before ? "end" : "start", style: "font-weight:700" }, name));
      }
      parts.push(node);
    }
    parts.push(shape("path", { d: diamond(x(values.centre[0]), y(values.centre[1]), 7), fill: COLOURS.all, stroke: "currentColor", class: "bmm-all" }));
    this.finish(width, height, parts, words, `${this.effects[0]} across and ${this.effects[1]} up: estimates of ${plural(some.length, "level")}; the numbers are in the table below.`);
  }

  finish(width, height, parts, words, label) {
    this.figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.figure.setAttribute("height", height);
    this.figure.setAttribute("aria-label", label);
    this.figure.replaceChildren(...parts);
    this.figure.onclick = (event) => {
      const node = event.target.closest("[data-level]");
      if (node) this.pick(Number(node.getAttribute("data-level")));
    };
    this.remark.textContent = `${words}Choose a level by a click, or in the list.`;
  }

  tabulate() {
    if (!this.details.open) return;
    const { values, state } = this;
    const { k, n, levels } = this.sums;
    const { some, words } = this.shown();
    const views = state.view === 2 ? [0, 1] : [Math.min(state.view, k - 1)];
    const tables = views.map((a) => {
      const scale = (this.frames[a].high - this.frames[a].low) / 10;
      const cell = (value, size = scale) => make("td", {}, make("data", { value: String(value) }, write(value, size)));
      const head = ["rows", "alone", "partial", "sd", "lower", "upper", "weight"];
      const rows = some.map((i) => {
        const here = i * k + a;
        const [at, sd] = [values.coefficient[here], this.sdAt(here)];
        const limits = [-1, 1].map((side) => cell(at + side * this.data.z * sd));
        const line = make("tr", {}, make("th", { scope: "row" }, named(levels[i])), make("td", {}, String(n[i])), cell(values.own[here]), cell(at), cell(sd), ...limits, cell(values.weight[here], 1));
        if (i === state.picked) line.style.fontWeight = "700";
        return line;
      });
      return make("table", {}, make("caption", {}, named(this.effects[a]), `; all levels ${write(values.centre[a], scale)}`),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "level"), ...head.map((text) => make("th", { scope: "col" }, text)))),
        make("tbody", {}, ...rows));
    });
    this.table.replaceChildren(...(words ? [make("p", { className: "bmm-quiet" }, words)] : []), ...tables);
  }
}

/** From where to where an axis goes: all own estimates, unless a few lie far beyond everything else. */
function frame(at, k, a, z) {
  const ends = [at.centre[a]];
  const own = [];
  for (let i = a; i < at.coefficient.length; i += k) {
    ends.push(at.coefficient[i] - z * at.sdCoefficient[i], at.coefficient[i] + z * at.sdCoefficient[i]);
    if (Number.isFinite(at.own[i])) own.push(at.own[i]);
  }
  own.sort((one, other) => one - other);
  const inner = own.length > 3 ? own.slice(Math.ceil(0.1 * own.length), Math.floor(0.9 * own.length) || undefined) : own;
  let low = ends.reduce((x, v) => Math.min(x, v), Infinity);
  let high = ends.reduce((x, v) => Math.max(x, v), -Infinity);
  if (inner.length) {
    low = Math.min(low, inner[0]);
    high = Math.max(high, inner[inner.length - 1]);
  }
  const room = high - low || Math.abs(high) || 1;
  const near = own.filter((v) => v > low - 0.7 * room && v < high + 0.7 * room);
  for (const v of near) [low, high] = [Math.min(low, v), Math.max(high, v)];
  const margin = 0.04 * (high - low || Math.abs(high) || 1);
  return { low: low - margin, high: high + margin };
}

function cross(x, y, r) {
  return `M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}`;
}

function diamond(x, y, r) {
  return `M${x} ${y - r - 1}L${x + r + 1} ${y}L${x} ${y + r + 1}L${x - r - 1} ${y}Z`;
}

function render({ model, el }) {
  const explorer = new Explorer(model.get("data"), el, model.get("key"));
  return () => explorer.close();
}

export { evaluate, factorOf, logLikelihood, maximise, readData, simulate };
export default { render };
