/** Outline icons on a 24 by 24 grid, drawn for this page. */

const SVG = 'http://www.w3.org/2000/svg';

/** @type {Record<string, string>} */
const PATHS = {
  mic: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21M8.5 21h7',
  'mic-off': 'M9 9.5V11a3 3 0 0 0 4.6 2.5M15 11.5V6a3 3 0 0 0-5.7-1.3M5.5 11a6.5 6.5 0 0 0 10.5 5.1M18.5 11a6.4 6.4 0 0 1-.6 2.7M12 17.5V21M8.5 21h7M3.5 3.5l17 17',
  camera: 'M4.5 6.5h9a1.5 1.5 0 0 1 1.5 1.5v8a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16V8a1.5 1.5 0 0 1 1.5-1.5zM15 10.5l6-3v9l-6-3',
  'camera-off': 'M9 6.5h4.5A1.5 1.5 0 0 1 15 8v4.5M15 16a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16V8a1.5 1.5 0 0 1 1.5-1.5h.5M15 10.5l6-3v9l-3.5-1.750M3.5 3.5l17 17',
  screen: 'M4.5 4.5h15A1.5 1.5 0 0 1 21 6v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 15V6a1.5 1.5 0 0 1 1.5-1.5zM8 20.5h8M12 13.5V8M9.5 10.3L12 7.8l2.5 2.5',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4zM9 14.8a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4z',
  people: 'M9 5a3.2 3.2 0 1 0 0 6.4A3.2 3.2 0 0 0 9 5zM3 19.5c0-3 2.7-5 6-5s6 2 6 5M15.5 5.3a3 3 0 0 1 0 5.8M17.5 14.9c2.1.7 3.5 2.3 3.5 4.6',
  leave: 'M3.3 14.2c-.5-.9-.6-2.3.6-3.4C6.2 8.7 9 7.8 12 7.8s5.8.9 8.1 3c1.2 1.1 1.1 2.5.6 3.4-.3.6-1 .8-1.6.6l-2.7-.9c-.6-.2-1-.8-1-1.4v-1.3a10.6 10.6 0 0 0-6.8 0v1.3c0 .6-.4 1.2-1 1.4l-2.7.9c-.6.2-1.3 0-1.6-.6z',
  lock: 'M6.5 10.5h11A1.5 1.5 0 0 1 19 12v7a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 19v-7a1.5 1.5 0 0 1 1.5-1.5zM8 10.5V7.5a4 4 0 0 1 8 0v3',
  close: 'M6 6l12 12M18 6L6 18',
  pin: 'M9 3.5h6M10 3.5v6l-3 4v1.5h10v-1.5l-3-4v-6M12 15v6',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5c0-4 3.4-6.5 7.5-6.5s7.5 2.5 7.5 6.5',
  alert: 'M12 4L3 19.5h18L12 4zM12 10v4.5M12 17v.1',
};

/**
 * @param {string} name
 * @returns {SVGSVGElement} hidden from assistive technology: the control's label says what it is
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name] ?? '');
  svg.append(path);
  return svg;
}

/** Three bars of a connection mark; CSS lights them by the mark's level. */
export function bars() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', 'bars');
  svg.setAttribute('aria-hidden', 'true');
  [[1, 10, 5], [6, 6, 9], [11, 2, 13]].forEach(([x, y, height], index) => {
    const bar = document.createElementNS(SVG, 'rect');
    for (const [key, value] of Object.entries({ x, y, width: 4, height, rx: 1 })) bar.setAttribute(key, String(value));
    bar.setAttribute('class', `bar bar-${index + 1}`);
    svg.append(bar);
  });
  return svg;
}
