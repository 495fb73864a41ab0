package proxy

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"tilegate/auth"
)

// revocationAnswer says what a revocation hit.
type revocationAnswer struct {
	Subject string `json:"subject,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	// Matched is how many credentials were known by that name: used here lately, and still remembered. Others are
	// refused as well.
	Matched int            `json:"matched"`
	Kinds   map[string]int `json:"kinds,omitempty"` // how many of Matched are an access token, session, path token or API key
}

// revoke makes all credentials of a subject, or all that were minted from one token, invalid.
func (p *Proxy) revoke(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Subject string `json:"subject"`
		TokenID string `json:"token_id"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if (asked.Subject == "") == (asked.TokenID == "") {
		return refuse(http.StatusBadRequest, `Send either {"subject": …} or {"token_id": …}.`)
	}
	named := auth.Revocation{Subject: asked.Subject, TokenID: asked.TokenID}
	if err := p.opt.Auth.Revoke(named); err != nil {
		p.opt.Logger.ErrorContext(r.Context(), "revocation refused", "error", err)
		return err
	}
	answer := revocationAnswer{Subject: asked.Subject, TokenID: asked.TokenID, Kinds: map[string]int{}}
	for kind, n := range p.opt.Auth.Known(named) {
		answer.Kinds[kind.String()] = n
		answer.Matched += n
	}
	p.opt.Logger.InfoContext(r.Context(), "revoked", "subject", asked.Subject, "token_id", asked.TokenID, "matched", answer.Matched)
	if asked.Subject != "" {
		untilNextSecond(r.Context())
	}
	return adminJSON(w, answer)
}

// untilNextSecond waits until the second is over. A token says in whole seconds when it was issued, so that one of the same
// second counts as issued before a revocation. A token that is asked for once the revocation is answered is good at once.
func untilNextSecond(ctx context.Context) {
	now := time.Now()
	select {
	case <-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now)):
	case <-ctx.Done():
	}
}

// maxListed bounds the revocations that one answer lists.
const maxListed = 1000

// listedRevocation is one line of the list.
type listedRevocation struct {
	Subject   string     `json:"subject,omitempty"`
	TokenID   string     `json:"token_id,omitempty"`
	RevokedAt time.Time  `json:"revoked_at"`
	KeptUntil *time.Time `json:"kept_until,omitempty"` // absent: for good
}

// listRevocations lists what is revoked in this process, the latest first.
func (p *Proxy) listRevocations(w http.ResponseWriter, _ *http.Request) error {
	latest, total := p.opt.Auth.Revocations(maxListed)
	answer := struct {
		Total       int                `json:"total"`
		Revocations []listedRevocation `json:"revocations"`
	}{total, make([]listedRevocation, 0, len(latest))}
	for _, r := range latest {
		line := listedRevocation{Subject: r.Subject, TokenID: r.TokenID, RevokedAt: seconds(r.At)}
		if !r.Until.IsZero() {
			until := seconds(r.Until)
			line.KeptUntil = &until
		}
		answer.Revocations = append(answer.Revocations, line)
	}
	return adminJSON(w, answer)
}

// undoRevocation takes back the revocation that the query names.
func (p *Proxy) undoRevocation(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	subject, tokenID := query["subject"], query["token_id"]
	if err != nil || len(query) != 1 || len(subject)+len(tokenID) != 1 || query.Get("subject")+query.Get("token_id") == "" {
		return refuse(http.StatusBadRequest, "Name what to undo: ?subject=… or ?token_id=…, one of them, once.")
	}
	named := auth.Revocation{Subject: query.Get("subject"), TokenID: query.Get("token_id")}
	undone := 0
	if p.opt.Auth.Unrevoke(named) {
		undone = 1
		p.opt.Logger.InfoContext(r.Context(), "revocation undone", "subject", named.Subject, "token_id", named.TokenID)
	}
	return adminJSON(w, map[string]int{"undone": undone})
}
