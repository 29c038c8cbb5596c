/**
 * Which codec a video is sent in: browsers send the first they and the SFU agree on.
 */

/**
 * @param {Pick<RTCRtpTransceiver, 'setCodecPreferences'>} transceiver
 * @param {string} codec of video, like "vp8"; '' for the browser's own order
 * @returns {boolean} false if the browser does not send it
 */
export function preferCodec(transceiver, codec) {
  const known = globalThis.RTCRtpSender?.getCapabilities('video')?.codecs ?? [];
  const first = known.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
  if (transceiver.setCodecPreferences === undefined || (codec !== '' && first.length === 0)) return false;
  transceiver.setCodecPreferences(codec === '' ? [] : [...first, ...known.filter((each) => !first.includes(each))]);
  return true;
}
