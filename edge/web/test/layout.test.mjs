import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grid, onStage, showWhole, typicalAspect } from '../static/assets/js/layout.js';

const GAP = 10;
/** The stage at a window size: what margins, controls and the panel of people leave, as in call.css. */
const STAGES = {
  '1440x900': [1416, 804],
  '1440x900 with people': [1084, 804],
  '1024x768': [1000, 672],
  '1024x768 with people': [668, 672],
  '768x1024': [744, 928],
  '360x740': [344, 656],
};
const ASPECTS = { '4:3': 4 / 3, '16:9': 16 / 9 };

/** Picture area of each tile, by drawing it: the tile covers or shows the whole, as tile.js does. */
function visible(count, columns, [width, height], aspect) {
  const rows = Math.ceil(count / columns);
  const tile = { width: (width - GAP * (columns - 1)) / columns, height: (height - GAP * (rows - 1)) / rows };
  const shape = tile.width / tile.height;
  const whole = Math.min(tile.width, tile.height * aspect) ** 2 / aspect;
  if (showWhole(aspect, shape)) return whole;
  const shareSeen = Math.min(shape, aspect) / Math.max(shape, aspect);
  return tile.width * tile.height * shareSeen;
}

for (const [size, stage] of Object.entries(STAGES)) {
  test(`the largest visible pictures for 1 to 9 people at ${size}`, () => {
    for (const [shape, aspect] of Object.entries(ASPECTS)) {
      for (let count = 1; count <= 9; count += 1) {
        const { columns, rows } = grid(count, ...stage, aspect);
        const what = `${count} of ${shape}: ${columns} x ${rows}`;
        assert.ok(columns * rows >= count && columns * (rows - 1) < count, `${what} has an empty row or too few cells`);
        const all = Array.from({ length: count }, (_, at) => visible(count, at + 1, stage, aspect));
        const chosen = visible(count, columns, stage, aspect);
        assert.ok(chosen >= 0.95 * Math.max(...all), `${what} shows ${Math.round((100 * chosen) / Math.max(...all))} % of the best`);
      }
    }
  });
}

test('two people sit side by side on a wide desktop unless one above the other shows clearly more', () => {
  const two = (size, aspect) => grid(2, ...STAGES[size], ASPECTS[aspect]).columns;
  assert.equal(two('1440x900', '4:3'), 2);
  assert.equal(two('1440x900', '16:9'), 2);
  assert.equal(two('1440x900 with people', '4:3'), 2);
  assert.equal(two('1440x900 with people', '16:9'), 1);
  assert.equal(two('1024x768', '4:3'), 2);
  for (const narrow of ['768x1024', '360x740']) {
    for (const aspect of ['4:3', '16:9']) assert.equal(two(narrow, aspect), 1, `${narrow} ${aspect}`);
  }
});

test('columns follow the shape of the stage', () => {
  assert.deepEqual(grid(0, 800, 600), { columns: 1, rows: 1 });
  assert.deepEqual(grid(1, 360, 640), { columns: 1, rows: 1 });
  assert.deepEqual(grid(2, 360, 640), { columns: 1, rows: 2 });
  assert.deepEqual(grid(2, 1400, 780), { columns: 2, rows: 1 });
  assert.deepEqual(grid(4, 1400, 780), { columns: 2, rows: 2 });
  assert.deepEqual(grid(4, 344, 655, 9 / 16), { columns: 2, rows: 2 });
  assert.deepEqual(grid(9, 1400, 780), { columns: 3, rows: 3 });
  for (let count = 1; count <= 30; count += 1) {
    const { columns, rows } = grid(count, 1000, 700);
    assert.ok(columns * rows >= count && columns * (rows - 1) < count, `${count}: ${columns} x ${rows}`);
  }
});

test('a portrait picture in a wide tile is shown whole, a similar one fills the tile', () => {
  assert.equal(showWhole(9 / 16, 16 / 9), true);
  assert.equal(showWhole(4 / 3, 16 / 9), false);
  assert.equal(showWhole(Number.NaN, 1), false);
  assert.ok(Math.abs(typicalAspect([0.5, 2]) - 1) < 1e-9);
  assert.equal(typicalAspect([Number.NaN, 0]), undefined);
});

test('a stage too small for all shows who speaks, then pictures, then voices', () => {
  const members = Array.from({ length: 30 }, (_, i) => ({ participant: `p${i}` }));
  const claims = { p29: 4, p28: 3, p3: 1, p4: 2, p5: 2 };
  const shown = onStage(members, (participant) => claims[participant] ?? 0);
  assert.deepEqual(new Set([...shown].map(({ participant }) => participant)), new Set(Object.keys(claims)));
  assert.equal(onStage(members, () => 1).size, 9);
  assert.ok([...onStage(members, (participant) => claims[participant] ?? 1)].some(({ participant }) => participant === 'p29'));
});
