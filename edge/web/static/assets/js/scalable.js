/**
 * The camera as one scalable stream, in place of simulcast: three sizes of three frame rates, of which the SFU forwards to
 * each subscriber what fits.
 *
 * @typedef {'' | 'vp9' | 'av1'} ScalableCodec
 */

/** Larger pictures refer to smaller ones in key frames only, so that nobody has to get two sizes. */
const MODE = 'L3T3_KEY';
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
  const first = known.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
  if (first.length === 0) return null;
  const encoding = /** @type {RTCRtpEncodingParameters} */ ({ scalabilityMode: MODE, maxBitrate: MAX_BITRATE });
  try {
    const transceiver = pc.addTransceiver(track, { direction: 'sendonly', sendEncodings: [encoding] });
    transceiver.setCodecPreferences([...first, ...known.filter((each) => !first.includes(each))]);
    return transceiver;
  } catch {
    return null; // it does not know the mode
  }
}
