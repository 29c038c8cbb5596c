/** Beats for metronome.js. */
setInterval(() => postMessage(null), 1000);
