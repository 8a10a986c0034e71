// The picture a tab sends: a ship's lamp at dusk that signals the tab's name in Morse code.

const MORSE = /** @type {Record<string, string>} */ ({
  a: ".-", b: "-...", c: "-.-.", d: "-..", e: ".", f: "..-.", g: "--.", h: "....", i: "..", j: ".---", k: "-.-", l: ".-..", m: "--",
  n: "-.", o: "---", p: ".--.", q: "--.-", r: ".-.", s: "...", t: "-", u: "..-", v: "...-", w: ".--", x: "-..-", y: "-.--", z: "--..",
});
/** Length of a dot in milliseconds. */
const DOT_MS = 160;
/** Frames per second: enough for a lamp, little to encode. */
const FRAMES = 15;

/** One step per dot's length: whether the lamp is lit, and which letter it is at. @param {string} text */
function steps(text) {
  const timeline = [];
  for (const [index, letter] of [...text.toLowerCase()].entries()) {
    for (const sign of MORSE[letter] ?? "") {
      for (let step = 0; step < (sign === "-" ? 3 : 1); step += 1) timeline.push({ lit: true, index });
      timeline.push({ lit: false, index });
    }
    for (let pause = 0; pause < 2; pause += 1) timeline.push({ lit: false, index });
  }
  for (let pause = 0; pause < 7; pause += 1) timeline.push({ lit: false, index: -1 });
  return timeline;
}

/**
 * Draws for as long as the page lives. `stream` is the picture as video.
 * @param {HTMLCanvasElement} canvas @param {() => string} text
 */
export function startLamp(canvas, text) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { width, height } = canvas;
  const startedMs = performance.now();
  let glow = 0;

  const draw = () => {
    const name = text();
    const elapsedMs = performance.now() - startedMs;
    const timeline = steps(name);
    const { lit, index } = timeline[Math.floor(elapsedMs / DOT_MS) % timeline.length];
    glow += ((lit ? 1 : 0) - glow) * 0.6;
    const hue = [...name].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7);
    sky(hue);
    sea(hue, elapsedMs);
    lampAt(width * 0.5, height * 0.42);
    letters(name, index);
  };

  /** @param {number} hue */
  function sky(hue) {
    const gradient = pen.createLinearGradient(0, 0, 0, height * 0.66);
    gradient.addColorStop(0, `hsl(${hue} 45% 12%)`);
    gradient.addColorStop(1, `hsl(${(hue + 30) % 360} 50% 32%)`);
    pen.fillStyle = gradient;
    pen.fillRect(0, 0, width, height);
  }

  /** @param {number} hue @param {number} elapsedMs */
  function sea(hue, elapsedMs) {
    for (let row = 0; row < 4; row += 1) {
      pen.fillStyle = `hsl(${hue} 40% ${15 - row * 2.5 + glow * (4 - row)}%)`;
      pen.beginPath();
      pen.moveTo(0, height);
      const top = height * (0.64 + row * 0.09);
      for (let x = 0; x <= width; x += 8) pen.lineTo(x, top + Math.sin(x / (38 + row * 9) + elapsedMs / (900 - row * 130) + row) * (3 + row * 1.5));
      pen.lineTo(width, height);
      pen.fill();
    }
  }

  /** @param {number} x @param {number} y */
  function lampAt(x, y) {
    const radius = height * 0.16;
    const halo = pen.createRadialGradient(x, y, radius * 0.5, x, y, radius * 5);
    halo.addColorStop(0, `rgb(255 200 90 / ${0.75 * glow})`);
    halo.addColorStop(1, "rgb(255 200 90 / 0)");
    pen.fillStyle = halo;
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = `rgb(${70 + 185 * glow} ${66 + 150 * glow} ${60 + 80 * glow})`;
    pen.strokeStyle = "#d8c9a8";
    pen.lineWidth = 5;
    pen.beginPath();
    pen.arc(x, y, radius, 0, Math.PI * 2);
    pen.fill();
    // The shutter's slats turn edge on when it opens.
    pen.save();
    pen.clip();
    pen.fillStyle = "#20242c";
    for (let slat = -3; slat <= 3; slat += 1) pen.fillRect(x - radius, y + slat * radius * 0.3 - 1, radius * 2, radius * 0.3 * (1 - 0.88 * glow));
    pen.restore();
    pen.beginPath();
    pen.arc(x, y, radius, 0, Math.PI * 2);
    pen.stroke();
  }

  /** @param {string} name @param {number} current */
  function letters(name, current) {
    pen.font = "600 26px system-ui, sans-serif";
    pen.textAlign = "left";
    let x = (width - pen.measureText(name).width) / 2;
    for (const [index, letter] of [...name].entries()) {
      pen.fillStyle = index === current ? "#ffd27a" : "rgb(255 255 255 / .75)";
      pen.fillText(letter, x, height * 0.9);
      x += pen.measureText(letter).width;
    }
  }

  draw();
  // Not requestAnimationFrame: a tab in the background should go on, if slowly.
  setInterval(draw, 1000 / FRAMES);
  return { stream: canvas.captureStream(FRAMES) };
}
