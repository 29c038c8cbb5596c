// A voice for fake microphones. Chromium's own beeps once in a while, and between two beeps there is nothing to lose.
import { writeFileSync } from 'node:fs';

const rate = 48_000;
const seconds = 8; // browsers play it in a loop

/** Writes a WAV file of somebody who speaks without a pause: harmonics of a pitch that wanders, through formants that change. */
export function writeVoice(path) {
  const samples = rate * seconds;
  const data = Buffer.alloc(44 + 2 * samples);
  data.write('RIFF', 0);
  data.writeUInt32LE(36 + 2 * samples, 4);
  data.write('WAVEfmt ', 8);
  data.writeUInt32LE(16, 16);
  data.writeUInt16LE(1, 20); // PCM
  data.writeUInt16LE(1, 22); // mono
  data.writeUInt32LE(rate, 24);
  data.writeUInt32LE(2 * rate, 28);
  data.writeUInt16LE(2, 32);
  data.writeUInt16LE(16, 34);
  data.write('data', 36);
  data.writeUInt32LE(2 * samples, 40);
  let phase = 0;
  for (let n = 0; n < samples; n += 1) {
    const t = n / rate;
    const turn = (hertz) => Math.sin(2 * Math.PI * hertz * t);
    const pitch = 140 + 25 * turn(0.5) + 12 * turn(1.75);
    phase += (2 * Math.PI * pitch) / rate;
    const vowels = [500 + 250 * turn(2.125), 1500 + 600 * turn(1.375), 2600];
    let sum = 0;
    for (let harmonic = 1; harmonic <= 24; harmonic += 1) {
      const hertz = harmonic * pitch;
      const loud = vowels.reduce((most, vowel, at) => Math.max(most, Math.exp(-(((hertz - vowel) / 180) ** 2)) / (1 + at)), 0.04);
      sum += loud * Math.sin(harmonic * phase);
    }
    const syllables = 0.6 + 0.4 * turn(4);
    data.writeInt16LE(Math.round(6000 * Math.max(-5, Math.min(5, sum * syllables))), 44 + 2 * n);
  }
  writeFileSync(path, data);
}
