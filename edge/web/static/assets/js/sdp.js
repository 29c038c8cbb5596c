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
