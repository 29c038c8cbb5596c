import { preferCodec } from './codec.js';

/**
 * The camera as one scalable stream, in place of simulcast: three sizes of three frame rates, of which the SFU forwards to
 * each subscriber what fits.
 *
 * @typedef {'' | 'vp9' | 'av1'} ScalableCodec
 */

/** Larger pictures refer to smaller ones in key frames only, so that nobody has to get two sizes. */
const MODE = 'L3T3_KEY';
/** One size: what every codec can. */
const ONE_SIZE = 'L1T3';
const MAX_BITRATE = 2_000_000;

/**
 * @param {string | null} name
 * @returns {ScalableCodec} '' for what is none
 */
export function scalableCodec(name) {
  return name === 'vp9' || name === 'av1' ? name : '';
}

/**
 * @param {RTCPeerConnection} pc
 * @param {MediaStreamTrack} track
 * @param {ScalableCodec} codec
 * @returns {RTCRtpTransceiver | null} null if the browser cannot
 */
export function addScalable(pc, track, codec) {
  const known = globalThis.RTCRtpSender?.getCapabilities('video')?.codecs ?? [];
  if (!known.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`)) return null;
  const encoding = /** @type {RTCRtpEncodingParameters} */ ({ scalabilityMode: MODE, maxBitrate: MAX_BITRATE });
  try {
    const transceiver = pc.addTransceiver(track, { direction: 'sendonly', sendEncodings: [encoding] });
    preferCodec(transceiver, codec);
    return transceiver;
  } catch {
    return null; // it does not know the mode
  }
}

/**
 * Has the stream all sizes, or one while it is of a codec that knows no more.
 *
 * @param {Pick<RTCRtpSender, 'getParameters' | 'setParameters'>} sender
 * @param {boolean} all
 */
export async function scale(sender, all) {
  const parameters = sender.getParameters();
  const encoding = /** @type {(RTCRtpEncodingParameters & { scalabilityMode?: string }) | undefined} */ (parameters.encodings[0]);
  const mode = all ? MODE : ONE_SIZE;
  if (encoding === undefined || encoding.scalabilityMode === mode) return;
  encoding.scalabilityMode = mode;
  await sender.setParameters(parameters);
}
