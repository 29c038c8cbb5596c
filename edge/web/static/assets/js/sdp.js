/**
 * Asks the browser to send Opus with DTX (RFC 7587): its encoder follows the *remote* description's
 * fmtp, so the hint is put into the answer. Silence then costs a few packets a second.
 *
 * @param {string} sdp
 * @returns {string}
 */
export function withOpusDTX(sdp) {
  const payloads = [...sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)].map((match) => String(match[1]));
  return payloads.reduce((text, payload) => addParameter(text, payload, 'usedtx=1'), sdp);
}

/**
 * Offers to ask for lost packets of Opus (RFC 4585), and to send them again: browsers can, but do not say so.
 *
 * @param {string} sdp
 * @returns {string}
 */
export function withOpusNACK(sdp) {
  return sdp.replace(/^(a=rtpmap:(\d+) opus\/48000[^\r\n]*)(\r?\n)/gim, (line, rtpmap, payload, end) => (
    new RegExp(`^a=rtcp-fb:${payload} nack\\s*$`, 'im').test(sdp) ? line : `${rtpmap}${end}a=rtcp-fb:${payload} nack${end}`));
}

/**
 * Applies the own description that comes next, with a change; as the browser has it, if it does not take that.
 *
 * @param {RTCPeerConnection} pc
 * @param {(sdp: string) => string} change
 */
export async function applyOwn(pc, change) {
  const answers = pc.signalingState === 'have-remote-offer';
  try {
    const { type, sdp = '' } = await (answers ? pc.createAnswer() : pc.createOffer());
    await pc.setLocalDescription({ type, sdp: change(sdp) });
  } catch {
    await pc.setLocalDescription();
  }
}

/**
 * @param {string} sdp
 * @param {string} payload
 * @param {string} parameter
 */
function addParameter(sdp, payload, parameter) {
  const fmtp = new RegExp(`^(a=fmtp:${payload} )([^\\r\\n]*)`, 'im');
  const found = fmtp.exec(sdp);
  if (found === null) {
    return sdp.replace(
      new RegExp(`^(a=rtpmap:${payload} [^\\r\\n]*)(\\r?\\n)`, 'im'),
      `$1$2a=fmtp:${payload} ${parameter}$2`,
    );
  }
  if (/(^|;)\s*usedtx=/.test(found[2] ?? '')) return sdp;
  return sdp.replace(fmtp, `$1$2;${parameter}`);
}
