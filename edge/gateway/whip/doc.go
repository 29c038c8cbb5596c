// Package whip lets encoders and players without our page take part: WHIP (RFC 9725) publishes, WHEP
// (draft-ietf-wish-whep, client offers) receives. The handler knows HTTP, tokens and session
// descriptions; what a session is, Sessions knows.
//
// A session's resource is /whip/ENCOUNTER/SESSION or /whep/ENCOUNTER/-/SESSION ("-" is no participant's
// id). Its ETag is made of the session's id and the count of its ICE restarts, which the encounter's
// record holds, so that every gateway agrees on it.
package whip
