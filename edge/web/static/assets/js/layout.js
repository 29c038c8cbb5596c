/** Space between two tiles in pixels, as in call.css. */
const GAP_PX = 10;
/** Pictures smaller by less than this share look the same size: people then sit side by side. */
const ALIKE = 0.05;

/**
 * The arrangement that shows the most picture: tiles crop or letterbox, so what counts is the share of
 * a picture that is visible times the area it is given, which is the area it would take up as a whole.
 *
 * @param {number} count tiles
 * @param {number} width of the stage in pixels
 * @param {number} height of the stage in pixels
 * @param {number} [aspect] width / height of a typical picture among them
 * @returns {{ columns: number, rows: number }}
 */
export function grid(count, width, height, aspect = 4 / 3) {
  let best = { columns: 1, rows: Math.max(1, count) };
  if (count <= 1 || width <= 0 || height <= 0) return best;
  let bestArea = 0;
  // From one row to one column: a later arrangement has fewer columns, so it has to be clearly better.
  for (let rows = 1; rows <= count; rows += 1) {
    const columns = Math.ceil(count / rows);
    const area = pictureArea(share(width, columns), share(height, rows), aspect);
    if (area * (1 - ALIKE) > bestArea) {
      bestArea = area;
      best = { columns, rows: Math.ceil(count / columns) };
    }
  }
  return best;
}

/**
 * @param {number} length of the stage
 * @param {number} parts tiles along it
 * @returns {number} what the gaps leave for each
 */
function share(length, parts) {
  return Math.max(0, length - GAP_PX * (parts - 1)) / parts;
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

/** As many pictures of people as a media server sends at once of a visit with more. */
const STAGE_TILES = 9;

/**
 * Who has a tile where there are more people than tiles: whoever has the greatest claim, of equals who came first.
 *
 * @template {{ participant: string }} T
 * @param {T[]} members
 * @param {(participant: string) => number} claim 0 is none
 * @returns {Set<T>}
 */
export function onStage(members, claim) {
  return new Set(members.map((member) => ({ member, has: claim(member.participant) })).filter(({ has }) => has > 0)
    .sort((a, b) => b.has - a.has).slice(0, STAGE_TILES).map(({ member }) => member));
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
