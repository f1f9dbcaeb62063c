"use strict";
// Draws what the page's data block holds: charts with uPlot, maps, spectrograms of the recordings. Text is only ever set
// as text. Called by nobody: it runs once, at the end of the page.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const HEIGHT = 220;
  const NEAR = 6; // pixels from a mark at which it is said
  const COLOURS = 8;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function element(tag, parent, text, kind) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    parent.append(made);
    return made;
  }

  // A label has one colour on the whole page of charts, whether its line was kept or left.
  function colours(lines) {
    const labels = [...new Set(lines.map((line) => line.label))];
    return new Map(labels.map((label, place) => [label, colour(`--line-${place % COLOURS}`)]));
  }

  function series(line, paint) {
    const one = {
      label: line.label,
      stroke: paint,
      width: line.left ? 1 : 1.5,
      alpha: line.left ? 0.45 : 1,
      value: (_, y) => (y == null ? "–" : String(y)),
      points: { show: line.x.length < 25 && !line.level && !line.left, size: 5 },
    };
    if (line.left || line.level) one.dash = line.left ? [3, 3] : [8, 4];
    if (line.left) one.class = "left";
    if (line.stepped) one.paths = uPlot.paths.stepped({ align: 1 });
    return one;
  }

  function axis(more) {
    const grid = { stroke: colour("--grid"), width: 1 };
    return { stroke: colour("--soft"), grid, ticks: grid, font: "12px system-ui, sans-serif", ...more };
  }

  function short(value) {
    if (value == null) return "";
    const size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  }

  function scale(chart, log) {
    if (chart.lines.some((line) => line.stepped)) return { range: (_, low, high) => [0, Math.max(1, high * 1.05)] };
    return { distr: log ? 3 : 1 };
  }

  // Where values span two decades people choose the scale; what they chose outlives a change of colours.
  const chosen = new Map();
  function switchable(chart, log, figure) {
    if (!chart.log) return;
    const label = element("label", figure, "", "switch");
    const box = element("input", label);
    box.type = "checkbox";
    box.checked = log;
    label.append(" logarithmic");
    box.addEventListener("change", () => {
      chosen.set(chart.title, box.checked);
      drawAll();
    });
  }

  // Steps without a number as bars on the floor of the chart; findings and roll-backs as lines through it.
  function overlay(chart) {
    const bad = chart.lines.flatMap((line) => line.bad);
    return (u) => {
      const { ctx, bbox } = u;
      const inside = (x) => x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1;
      const ratio = devicePixelRatio || 1;
      ctx.save();
      for (const mark of data.marks) {
        const x = Math.round(u.valToPos(mark.x, "x", true));
        if (!inside(x)) continue;
        ctx.strokeStyle = colour(`--level-${mark.level || "none"}`) || colour("--soft");
        ctx.lineWidth = ratio;
        ctx.setLineDash(mark.kind === "roll-back" ? [2 * ratio, 3 * ratio] : []);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.fillStyle = colour("--level-Critical");
      for (const [from, to] of bad) {
        const left = u.valToPos(from, "x", true);
        const right = u.valToPos(to, "x", true);
        if (!inside(left) && !inside(right)) continue;
        const width = Math.max(4 * ratio, right - left);
        ctx.fillRect(left - 2 * ratio, bbox.top + bbox.height - 8 * ratio, width, 8 * ratio);
      }
      ctx.restore();
    };
  }

  function said(chart, u) {
    const at = u.cursor.left;
    if (at == null || at < 0) return "";
    const near = (x) => Math.abs(u.valToPos(x, "x") - at) <= NEAR;
    const found = data.marks.filter((mark) => near(mark.x)).map((mark) => `step ${mark.x}: ${mark.text}`);
    const x = u.posToVal(at, "x");
    for (const line of chart.lines) {
      for (const [from, to, word, count] of line.bad) {
        if (near(from) || near(to) || (from <= x && x <= to)) {
          const where = from === to ? `step ${from}` : `steps ${from} to ${to}`;
          found.push(`${where}: ${line.label} is ${word}${count > 1 ? `, ${count} times` : ""}`);
        }
      }
    }
    return found.slice(0, 4).join(" · ");
  }

  function notes(chart) {
    const found = chart.note ? [chart.note] : [];
    const count = (line) => line.bad.reduce((sum, stretch) => sum + stretch[3], 0);
    const bad = chart.lines.reduce((sum, line) => sum + count(line), 0);
    if (bad) found.push(`red on the floor: ${bad} value${bad === 1 ? "" : "s"} that ${bad === 1 ? "is" : "are"} no number`);
    return found.join(" · ");
  }

  function draw(chart, log, holder) {
    const lines = chart.lines.filter((line) => line.x.length);
    if (!lines.length) return;
    const figure = element("figure", holder, "", "chart");
    element("figcaption", figure, chart.unit ? `${chart.title}, ${chart.unit}` : chart.title);
    switchable(chart, log, figure);
    const place = element("div", figure);
    const note = notes(chart);
    if (note) element("p", figure, note, "note");
    const hint = element("p", figure, "", "hint");
    const paint = colours(lines);
    const options = {
      width: Math.max(200, place.clientWidth),
      height: HEIGHT,
      cursor: { sync: { key: "steps" }, drag: { x: true, y: false }, y: false },
      scales: { x: { time: false }, y: scale(chart, log) },
      axes: [axis({ values: (_, all) => all.map(short) }), axis({ size: 62, values: (_, all) => all.map(short) })],
      series: [{ label: "step" }, ...lines.map((line) => series(line, paint.get(line.label)))],
      hooks: { draw: [overlay(chart)], setCursor: [(u) => { hint.textContent = said(chart, u); }] },
    };
    const plot = new uPlot(options, uPlot.join(lines.map((line) => [line.x, line.y])), place);
    watchWidth(place, (width) => plot.setSize({ width, height: HEIGHT }));
    return plot;
  }

  // Over frames and not over steps: no marks of the run, no cursor of its charts.
  function drawPlot(plot, holder) {
    const figure = element("figure", holder, "", "chart");
    element("figcaption", figure, plot.title);
    const place = element("div", figure);
    if (plot.note) element("p", figure, plot.note, "note");
    const paint = colours(plot.lines);
    const named = (label, more) => axis({ label, labelSize: 20, labelFont: "12px system-ui, sans-serif",
                                         values: (_, all) => all.map(short), ...more });
    const options = {
      width: Math.max(200, place.clientWidth),
      height: HEIGHT,
      cursor: { drag: { x: true, y: false }, y: false },
      scales: { x: { time: false } },
      axes: [named(plot.across), named(plot.up, { size: 50 })],
      series: [{ label: plot.across }, ...plot.lines.map((line, place) => ({
        label: line.label, stroke: paint.get(line.label), width: 1.5, dash: place ? [4, 3] : undefined,
        points: { show: false }, value: (_, y) => short(y) || "–",
      }))],
    };
    const made = new uPlot(options, uPlot.join(plot.lines.map((line) => [line.x, line.y])), place);
    watchWidth(place, (width) => made.setSize({ width, height: HEIGHT }));
    return made;
  }

  function watchWidth(place, fit) {
    let before = place.clientWidth;
    new ResizeObserver(() => {
      const width = Math.max(200, place.clientWidth);
      if (width !== before) fit(width);
      before = width;
    }).observe(place);
  }

  const ROW = 18;
  const LABELS = 96; // pixels for the names of the rows

  // Depth of colour by the square root of a value's share of the largest: small ones must be told from none.
  function paintMap(map, canvas, width) {
    const ratio = devicePixelRatio || 1;
    const height = map.rows.length * ROW;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.font = "11px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    const most = Math.max(...map.values.flat()) || 1;
    const cell = (width - LABELS) / map.values[0].length;
    map.values.forEach((row, y) => {
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour("--soft");
      ctx.fillText(map.rows[y], 0, (y + 0.5) * ROW, LABELS - 6);
      ctx.fillStyle = colour("--grid");
      ctx.fillRect(LABELS, y * ROW, width - LABELS, ROW - 1);
      ctx.fillStyle = colour("--line-0");
      row.forEach((value, x) => {
        ctx.globalAlpha = Math.sqrt(Math.max(0, value) / most);
        const left = Math.round(LABELS + x * cell); // whole pixels: no seam between neighbours
        ctx.fillRect(left, y * ROW, Math.round(LABELS + (x + 1) * cell) - left, ROW - 1);
      });
    });
  }

  function drawMap(map, holder) {
    const figure = element("figure", holder, "", "chart");
    element("figcaption", figure, map.title);
    const place = element("div", figure, "", "map");
    const canvas = element("canvas", place);
    const most = Math.max(...map.values.flat());
    element("p", figure, `across: ${map.across} · deepest colour: ${short(most)}${map.note ? ` · ${map.note}` : ""}`, "note");
    const hint = element("p", figure, "", "hint");
    const fit = (width) => paintMap(map, canvas, width);
    canvas.addEventListener("mousemove", (event) => {
      const y = Math.floor(event.offsetY / ROW);
      const x = Math.floor(((event.offsetX - LABELS) / (canvas.clientWidth - LABELS)) * map.values[0].length);
      const value = (map.values[y] || [])[x];
      hint.textContent = value == null ? "" : `${map.rows[y]}, column ${x}: ${short(value)}`;
    });
    fit(Math.max(200, place.clientWidth));
    watchWidth(place, fit);
  }

  let plots = [];
  function drawAll() {
    for (const plot of plots) plot.destroy();
    plots = [];
    for (const [place, charts] of [["score-charts", data.scoreCharts], ["charts", data.charts]]) {
      const holder = document.getElementById(place);
      if (!holder) continue;
      holder.replaceChildren();
      for (const chart of charts) {
        const plot = draw(chart, chosen.get(chart.title) ?? chart.log, holder);
        if (plot) plots.push(plot);
      }
    }
    const holder = document.getElementById("pictures");
    if (!holder) return;
    holder.replaceChildren();
    plots.push(...data.pictures.plots.map((plot) => drawPlot(plot, holder)));
    data.pictures.maps.forEach((map) => drawMap(map, holder));
  }

  // RIFF WAVE: 16-bit or 32-bit float samples of the first channel. Null for anything else.
  function samplesOf(source) {
    const text = atob(source.slice(source.indexOf(",") + 1));
    const view = new DataView(Uint8Array.from(text, (c) => c.charCodeAt(0)).buffer);
    let format = null;
    for (let at = 12; at + 8 <= view.byteLength; ) {
      const name = text.slice(at, at + 4);
      const size = view.getUint32(at + 4, true);
      const start = at + 8;
      if (name === "fmt ") {
        format = { kind: view.getUint16(start, true), channels: view.getUint16(start + 2, true),
                   rate: view.getUint32(start + 4, true), bits: view.getUint16(start + 14, true) };
      } else if (name === "data" && format) {
        const bytes = format.bits / 8;
        const step = bytes * format.channels;
        const count = Math.floor(Math.min(size, view.byteLength - start) / step);
        if (format.kind === 1 && format.bits === 16) {
          return { rate: format.rate,
                   values: Float32Array.from({ length: count }, (_, i) => view.getInt16(start + i * step, true) / 32768) };
        }
        if (format.kind === 3 && format.bits === 32) {
          return { rate: format.rate,
                   values: Float32Array.from({ length: count }, (_, i) => view.getFloat32(start + i * step, true)) };
        }
        return null;
      }
      at = start + size + (size % 2);
    }
    return null;
  }

  // In place, radix 2 (Cooley and Tukey 1965).
  function transform(re, im) {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i += 1) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let size = 2; size <= n; size *= 2) {
      const angle = (-2 * Math.PI) / size;
      for (let k = 0; k < size / 2; k += 1) {
        const c = Math.cos(angle * k);
        const s = Math.sin(angle * k);
        for (let from = k; from < n; from += size) {
          const to = from + size / 2;
          const r = re[to] * c - im[to] * s;
          const i = re[to] * s + im[to] * c;
          re[to] = re[from] - r;
          im[to] = im[from] - i;
          re[from] += r;
          im[from] += i;
        }
      }
    }
  }

  const HEAT = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

  function heat(share) {
    const at = Math.min(0.9999, Math.max(0, share)) * (HEAT.length - 1);
    const low = Math.floor(at);
    return HEAT[low].map((value, i) => value + (HEAT[low + 1][i] - value) * (at - low));
  }

  // Power in dB below the loudest, 80 dB deep; frequency upwards from 0 to half the sample rate.
  function spectrogram(sound, canvas) {
    const size = sound.rate >= 32000 ? 1024 : 512;
    const { width, height } = canvas;
    const hann = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
    const columns = [];
    let loudest = 1e-12;
    for (let column = 0; column < width; column += 1) {
      const from = Math.round((column / Math.max(1, width - 1)) * Math.max(0, sound.values.length - size));
      const re = Float64Array.from({ length: size }, (_, i) => (sound.values[from + i] || 0) * hann[i]);
      const im = new Float64Array(size);
      transform(re, im);
      const power = Float64Array.from({ length: size / 2 }, (_, i) => re[i] * re[i] + im[i] * im[i]);
      loudest = Math.max(loudest, ...power);
      columns.push(power);
    }
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    columns.forEach((power, x) => {
      for (let y = 0; y < height; y += 1) {
        const bin = Math.floor(((height - 1 - y) / height) * power.length);
        const [r, g, b] = heat(1 + (10 * Math.log10(power[bin] / loudest + 1e-12)) / 80);
        image.data.set([r, g, b, 255], (y * width + x) * 4);
      }
    });
    context.putImageData(image, 0, 0);
  }

  function listen() {
    for (const figure of document.querySelectorAll(".sounds figure")) {
      const canvas = figure.querySelector("canvas");
      const sound = samplesOf(figure.querySelector("audio").src);
      if (sound && sound.values.length) {
        spectrogram(sound, canvas);
        const seconds = sound.values.length / sound.rate;
        canvas.title = `spectrogram: ${seconds.toFixed(2)} s, 0 to ${sound.rate / 2000} kHz, 80 dB`;
      } else canvas.remove();
    }
  }

  drawAll();
  listen();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
