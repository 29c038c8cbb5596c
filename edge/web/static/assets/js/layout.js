/**
 * How many columns make the pictures largest.
 *
 * @param {number} count tiles
 * @param {number} width of the stage in pixels
 * @param {number} height of the stage in pixels
 * @param {number} [aspect] width / height of a typical picture among them
 * @returns {{ columns: number, rows: number }}
 */
export function grid(count, width, height, aspect = 4 / 3) {
  if (count <= 1 || width <= 0 || height <= 0) return { columns: 1, rows: Math.max(1, count) };
  let best = { columns: 1, rows: count };
  let bestScore = 0;
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const score = pictureArea(width / columns, height / rows, aspect) * fullness(count, columns, rows);
    if (score > bestScore) {
      bestScore = score;
      best = { columns, rows };
    }
  }
  return best;
}

/**
 * The area that a whole picture takes up in a tile.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} aspect of the picture
 */
function pictureArea(width, height, aspect) {
  return Math.min(width, height * aspect) * Math.min(height, width / aspect);
}

/**
 * Empty cells count a little against a layout.
 *
 * @param {number} count
 * @param {number} columns
 * @param {number} rows
 */
function fullness(count, columns, rows) {
  return 0.7 + 0.3 * (count / (columns * rows));
}

/**
 * Whether a picture should be shown whole: cropping it to the tile would lose more than two fifths.
 *
 * @param {number} videoAspect width / height
 * @param {number} tileAspect width / height
 */
export function showWhole(videoAspect, tileAspect) {
  if (!(videoAspect > 0) || !(tileAspect > 0)) return false;
  return Math.max(videoAspect / tileAspect, tileAspect / videoAspect) > 1.67;
}

/**
 * The typical shape of several pictures: the geometric mean, in which portrait and landscape weigh the same.
 *
 * @param {number[]} aspects width / height
 * @returns {number | undefined} undefined when there are none
 */
export function typicalAspect(aspects) {
  const known = aspects.filter((aspect) => aspect > 0 && Number.isFinite(aspect));
  if (known.length === 0) return undefined;
  return Math.exp(known.reduce((sum, aspect) => sum + Math.log(aspect), 0) / known.length);
}
