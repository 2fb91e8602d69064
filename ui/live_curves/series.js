// Reports to what is drawn: few enough points, ranges, names.

const LONGEST = 1500, COLUMNS = 160, SETTLED = 0.06;

// NaN and Infinity, which Python writes, are no JSON
const parseReport = (line) => JSON.parse(line.replace(/-?\b(NaN|Infinity)\b/g, "null"));

// every so many, and the last
function thinned(rows, most = LONGEST) {
  const stride = Math.ceil(rows.length / most);
  return stride < 2 ? rows : rows.filter((row, index) => (rows.length - 1 - index) % stride === 0);
}

// the largest of every so many: a thinned line must not lose a peak
function peaks(x, y, most = LONGEST) {
  const stride = Math.ceil(x.length / most), kept = { x: [], y: [] };
  for (let start = 0; start < x.length; start += stride) {
    const part = y.slice(start, start + stride), top = part.indexOf(Math.max(...part));
    kept.x.push(x[start + Math.max(top, 0)]);
    kept.y.push(part[Math.max(top, 0)]);
  }
  return kept;
}

// the range without the first steep part: the start of a run would flatten all the rest
function settledRange(values) {
  const sorted = [...values].sort((a, b) => a - b), at = (q) => sorted[Math.round(q * (sorted.length - 1))];
  if (sorted.length < 12) return null;
  const low = at(SETTLED), high = at(1), pad = Math.max(0.08 * (high - low), 1e-3);
  return [low - pad, high + pad];
}

// the looks at which the KL was split by dimension, one at every place of the axis
function splitLooks(rows, axis) {
  const looks = rows.filter((row) => row.kl_by_dimension?.length);
  const same = looks.filter((row) => row.kl_by_dimension.length === looks.at(-1).kl_by_dimension.length);
  return thinned(same.filter((row, index) => row[axis] !== same[index + 1]?.[axis]), COLUMNS);
}

const dimensionName = (index) => "z" + String(index + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const signed = (value) => value.toFixed(2).replace("-", "−");
