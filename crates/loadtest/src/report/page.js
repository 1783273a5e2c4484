// Draws the charts with uPlot, each when it is first seen. Those of a group are read and zoomed together.
'use strict';
const grouped = (value) => value.toLocaleString('en-US', { maximumFractionDigits: 6 });
const short = (value) => {
  const size = Math.abs(value);
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
};
const duration = (write) => (ms) => {
  if (ms >= 1000) return write(ms / 1000) + '\u00a0s';
  return ms < 1 ? write(ms * 1000) + '\u00a0µs' : write(ms) + '\u00a0ms';
};
const percentile = (x) => {
  const digits = Math.max(1, Math.ceil(Math.log10(x)) - 1);
  return String(Number((100 - 100 / x).toFixed(digits)));
};
// For each kind of value: what the read-out writes, and what the axis does.
const KINDS = {
  rate: { text: (value) => short(value) + '/s', tick: grouped },
  count: { text: short, tick: grouped },
  latency: { text: duration(short), tick: duration(grouped), log: true },
  time: { text: (value) => value.toFixed(1) + '\u00a0s', tick: (value) => grouped(value) + '\u00a0s' },
  percentile: { text: (value) => 'p' + percentile(value), tick: percentile, log: true },
};
const DASHES = { dash: [6, 4], dots: [1, 4] };
// Kinds of request differ in weight too, not in colour alone.
const WIDTHS = { thin: 1.25, s2: 3.25, s3: 1.25 };
// Seconds between two marks of an axis.
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
const NINES = [2, 10, 1e2, 1e3, 1e4, 1e5, 1e6];
const colour = (name, of = document.body) => getComputedStyle(of).getPropertyValue(name).trim();

// Of a log axis, the decades; where there are few of them 2 and 5 as well.
const round = (_, marks) => {
  const few = marks[marks.length - 1] / marks[0] < 2000;
  const digit = (mark) => Math.round(mark / 10 ** Math.floor(Math.log10(mark) + 1e-9));
  return marks.map((mark) => ((few ? [1, 2, 5] : [1]).includes(digit(mark)) ? mark : null));
};

// Values between two gaps, through which no line goes. What is undefined is of another curve, and no gap.
const lonely = (u, i) => {
  const known = [...u.data[i].keys()].filter((at) => u.data[i][at] !== undefined);
  const isGap = (at) => at === undefined || u.data[i][at] === null;
  return known.filter((at, n) => !isGap(at) && isGap(known[n - 1]) && isGap(known[n + 1]));
};

function options(data, legend, group, width, height) {
  const [x, y] = [KINDS[data.x], KINDS[data.y]];
  const axis = (kind, more) => ({
    stroke: () => colour('--soft'),
    font: '12px system-ui, sans-serif',
    values: (_, marks) => marks.map((mark) => (mark === null ? '' : kind.tick(mark))),
    ticks: { stroke: () => colour('--line-strong'), width: 1, size: 4 },
    ...more,
  });
  const series = data.lines.map((line, i) => {
    const key = legend[i].querySelector('line');
    const classes = line.class.split(' ');
    const pick = (from) => classes.map((name) => from[name]).find((value) => value !== undefined);
    const stroke = () => colour('--c', key);
    return {
      stroke,
      fill: line.area ? () => `color-mix(in srgb, ${stroke()} 12%, transparent)` : undefined,
      width: pick(WIDTHS) ?? 2,
      dash: pick(DASHES),
      points: { size: 6, show: () => false, filter: lonely },
    };
  });
  const shaded = (u) => {
    const [from, to] = data.shade ?? [0, 0];
    const [left, right] = [Math.max(from, u.scales.x.min), Math.min(to, u.scales.x.max)];
    return right > left ? [left, right].map((value) => u.valToPos(value, 'x', true)) : null;
  };
  const shade = (u) => {
    const place = shaded(u);
    if (!place) return;
    u.ctx.fillStyle = colour('--shade');
    u.ctx.fillRect(place[0], u.bbox.top, place[1] - place[0], u.bbox.height);
  };
  const name = (u) => {
    const place = shaded(u);
    if (!place) return;
    u.ctx.fillStyle = colour('--soft');
    u.ctx.font = 12 * devicePixelRatio + 'px system-ui, sans-serif';
    u.ctx.textAlign = 'left';
    const [x, y] = [place[0] + 6 * devicePixelRatio, u.bbox.top + 14 * devicePixelRatio];
    u.ctx.strokeStyle = colour('--card');
    u.ctx.lineWidth = 4 * devicePixelRatio;
    u.ctx.strokeText(data.shade[2], x, y);
    u.ctx.fillText(data.shade[2], x, y);
  };
  const read = (u) => {
    const { idx } = u.cursor;
    const shown = idx !== null && idx !== undefined;
    legend.forEach((item, i) => {
      const value = shown ? u.data[i + 1][idx] : null;
      const isKnown = value !== null && value !== undefined;
      item.querySelector('output').textContent = isKnown ? y.text(value) : '';
    });
    u.root.dataset.at = shown ? x.text(u.data[0][idx]) : '';
  };
  const log = (kind) => ({ distr: kind.log ? 3 : 1 });
  const along =
    data.x === 'percentile'
      ? { splits: (_u, _i, least, most) => NINES.filter((it) => it >= least && it <= most), filter: (_u, it) => it }
      : { incrs: STEPS, space: 60 };
  const upwards = y.log ? { filter: round } : {};
  return {
    width,
    height,
    legend: { show: false },
    padding: [10, 24, null, null],
    cursor: { sync: { key: group, setSeries: false }, points: { size: 8 }, y: false },
    scales: {
      x: { time: false, ...log(x) },
      y: y.log
        ? { ...log(y), range: (_, least, most) => uPlot.rangeLog(least ?? 1, most ?? 10, 10, false) }
        : { range: (_, least, most) => [0, uPlot.rangeNum(0, most || 1, 0.08, true)[1]] },
    },
    axes: [
      axis(x, { grid: { show: false }, size: 30, ...along }),
      axis(y, { grid: { stroke: () => colour('--line'), width: 1, ...upwards }, size: 66, ...upwards }),
    ],
    series: [{}, ...series],
    hooks: { drawClear: [shade], draw: [name], setCursor: [read] },
  };
}

const drawn = new Map();
function draw(plot, width) {
  const found = drawn.get(plot);
  if (found) return found.setSize({ width, height: found.height });
  const data = JSON.parse(plot.dataset.chart);
  const legend = [...plot.closest('.chart').querySelectorAll('.legend li')];
  const groups = [...document.querySelectorAll('.together')];
  const group = 'group-' + groups.indexOf(plot.closest('.together'));
  const table = uPlot.join(data.lines.map((line) => [line.x, line.y]));
  const { height } = plot.getBoundingClientRect();
  drawn.set(plot, new uPlot(options(data, legend, group, width, height || 220), table, plot));
}

const plots = [...document.querySelectorAll('.plot')];
const seen = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (contentRect.width > 0) draw(target, Math.floor(contentRect.width));
  }
});
for (const plot of plots) seen.observe(plot);
// On paper all runs are seen, also those that never were on the screen.
addEventListener('beforeprint', () => {
  const widths = plots.map((plot) => plot.clientWidth).filter((width) => width > 0);
  for (const plot of plots) if (!drawn.has(plot)) draw(plot, Math.max(320, ...widths));
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of drawn.values()) chart.redraw();
});
