package fakeaws

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// User is an IAM user with a long-term access key. Its ARN ends in user/ and the access key ID.
type User struct {
	AccessKeyID, SecretAccessKey string
	Policy                       string // JSON; "" allows nothing
}

// Role is an IAM role. Its trust policy is in plain fields.
type Role struct {
	ARN         string
	Policy      string        // JSON
	MaxDuration time.Duration // of a session, 1 h (the default) to 12 h
	// TrustedUsers may assume the role: access key IDs of users, ARNs of roles (whose sessions
	// may, which chains the roles), or *.
	TrustedUsers []string
	ExternalID   string       // required of AssumeRole when set
	WebIdentity  *WebIdentity // lets AssumeRoleWithWebIdentity in
}

// WebIdentity is an identity provider that a role trusts.
type WebIdentity struct {
	Issuer, Audience string
	Keys             map[string]crypto.PublicKey // by key ID
}

type role struct {
	Role
	policy *policy
	id     string
}

// Limits of the STS API.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const (
	minDuration     = 15 * time.Minute
	defaultDuration = time.Hour
	maxChained      = time.Hour
	maxDuration     = 12 * time.Hour
	maxPolicy       = 2048 // characters
	maxTags         = 50
	maxFormBytes    = 64 << 10
	stsNamespace    = "https://sts.amazonaws.com/doc/2011-06-15/"
)

var sessionNames = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// AddUser adds or replaces a user. The error tells what in its policy is not understood.
func (s *Server) AddUser(u User) error {
	p, err := parseOptional(u.Policy)
	if err != nil {
		return fmt.Errorf("user %s: %w", u.AccessKeyID, err)
	}
	who := &identity{
		accessKeyID: u.AccessKeyID,
		secret:      u.SecretAccessKey,
		arn:         "arn:aws:iam::" + s.opt.AccountID + ":user/" + u.AccessKeyID,
		userID:      "AIDA" + randomHex(8),
		policies:    p,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities[u.AccessKeyID] = who
	return nil
}

// AddRole adds or replaces a role; sessions issued before keep the policy they were issued with.
// The error tells what in its policy is not understood.
func (s *Server) AddRole(r Role) error {
	p, err := parsePolicy(r.Policy)
	if err != nil {
		return fmt.Errorf("role %s: %w", r.ARN, err)
	}
	if r.MaxDuration == 0 {
		r.MaxDuration = defaultDuration
	}
	if r.MaxDuration < defaultDuration || r.MaxDuration > maxDuration {
		return fmt.Errorf("role %s: MaxDuration %v is not within 1h and 12h", r.ARN, r.MaxDuration)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[r.ARN] = &role{Role: r, policy: p, id: "AROA" + randomHex(8)}
	return nil
}

func parseOptional(document string) ([]*policy, error) {
	if document == "" {
		return nil, nil
	}
	p, err := parsePolicy(document)
	return []*policy{p}, err
}

// ExpireSessions ends every session that STS has issued so far: S3 answers ExpiredToken, before the
// expiry that its holder was told.
func (s *Server) ExpireSessions() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, who := range s.sessions {
		who.revoked.Store(true)
	}
}

var stsActions = map[string]func(*Server, *call, url.Values) *apiError{
	"AssumeRole":                (*Server).assumeRole,
	"AssumeRoleWithWebIdentity": (*Server).assumeRoleWithWebIdentity,
	"GetCallerIdentity":         (*Server).getCallerIdentity,
}

func (s *Server) serveSTS(c *call) {
	c.w.Header().Set("X-Amzn-Requestid", c.id)
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxFormBytes))
	form, formErr := url.ParseQuery(string(body))
	c.entry = s.log.arrived(Request{Op: form.Get("Action"), Header: c.Header, Form: form, Time: c.now})
	switch {
	case err != nil || formErr != nil:
		c.refuseSTS(refuse(http.StatusBadRequest, "MalformedQueryString", "The request's form could not be read."))
		return
	case stsActions[form.Get("Action")] == nil || form.Get("Version") != "2011-06-15":
		c.refuseSTS(refuse(http.StatusBadRequest, "InvalidAction", fmt.Sprintf("Could not find operation %s for version %s", form.Get("Action"), form.Get("Version"))))
		return
	}
	if refused := s.handleSTS(c, form, body); refused != nil {
		c.refuseSTS(refused)
	}
}

func (s *Server) handleSTS(c *call, form url.Values, body []byte) *apiError {
	name := form.Get("Action")
	if name != "AssumeRoleWithWebIdentity" { // whose token is its signature
		sum := sha256.Sum256(body)
		who, refused := s.authenticate(c, "sts", hex.EncodeToString(sum[:]), c.URL.Query())
		switch {
		case refused != nil:
			return stsRefusal(refused)
		case who == nil:
			return refuse(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
		}
		c.who = who
		s.log.verified(c.entry, who)
	}
	if refused, answered := c.meetFault(); refused != nil || answered {
		return refused
	}
	return stsActions[name](s, c, form)
}

// stsRefusal says in STS's words what S3 says in its own.
func stsRefusal(e *apiError) *apiError {
	switch e.code {
	case "InvalidAccessKeyId", "InvalidToken":
		return refuse(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	case "ExpiredToken":
		return refuse(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	case "RequestTimeTooSkewed":
		return refuse(http.StatusForbidden, "SignatureDoesNotMatch", "Signature expired or not yet current: "+e.message)
	case "AuthorizationHeaderMalformed":
		return refuse(http.StatusForbidden, "SignatureDoesNotMatch", e.message)
	case "InvalidArgument":
		return refuse(http.StatusBadRequest, "IncompleteSignature", e.message)
	}
	return e
}

func (s *Server) assumeRole(c *call, form url.Values) *apiError {
	if refused := knownParameters(form, "ExternalId"); refused != nil {
		return refused
	}
	s.mu.RLock()
	r := s.roles[form.Get("RoleArn")]
	s.mu.RUnlock()
	caller := c.who.accessKeyID
	chained := c.who.token != ""
	if chained {
		caller = c.who.roleARN
	}
	trusted := r != nil && (slices.Contains(r.TrustedUsers, caller) || slices.Contains(r.TrustedUsers, "*"))
	if !trusted || r.ExternalID != "" && r.ExternalID != form.Get("ExternalId") {
		// AWS does not tell a role that does not exist from one that does not trust the caller.
		return refuse(http.StatusForbidden, "AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.who.arn, form.Get("RoleArn")))
	}
	return s.issue(c, form, r, chained, nil)
}

func (s *Server) assumeRoleWithWebIdentity(c *call, form url.Values) *apiError {
	if refused := knownParameters(form, "WebIdentityToken"); refused != nil {
		return refused
	}
	s.mu.RLock()
	r := s.roles[form.Get("RoleArn")]
	s.mu.RUnlock()
	if r == nil || r.WebIdentity == nil {
		return refuse(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	subject, refused := r.WebIdentity.verify(form.Get("WebIdentityToken"), c.now)
	if refused != nil {
		return refused
	}
	return s.issue(c, form, r, false, &webIdentityResult{subject, r.WebIdentity.Audience, r.WebIdentity.Issuer})
}

// verify returns the token's subject.
func (w *WebIdentity) verify(token string, now time.Time) (string, *apiError) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithExpirationRequired(),
		jwt.WithIssuer(w.Issuer),
	)
	var claims jwt.RegisteredClaims
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if key := w.Keys[kid]; key != nil {
			return key, nil
		}
		return nil, errors.New("no such key")
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", refuse(http.StatusBadRequest, "ExpiredTokenException", "Token expired")
	case err != nil:
		return "", refuse(http.StatusBadRequest, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements")
	case !slices.Contains(claims.Audience, w.Audience):
		return "", refuse(http.StatusBadRequest, "InvalidIdentityToken", "Incorrect token audience")
	}
	return claims.Subject, nil
}

// webIdentityResult is what AssumeRoleWithWebIdentity tells besides the credentials.
type webIdentityResult struct{ SubjectFromWebIdentityToken, Audience, Provider string }

type assumedRole struct {
	ARN             string `xml:"AssumedRoleUser>Arn"`
	ID              string `xml:"AssumedRoleUser>AssumedRoleId"`
	AccessKeyID     string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey string `xml:"Credentials>SecretAccessKey"`
	SessionToken    string `xml:"Credentials>SessionToken"`
	Expiration      string `xml:"Credentials>Expiration"`
	*webIdentityResult
}

// issue makes a session of the role and writes its credentials.
func (s *Server) issue(c *call, form url.Values, r *role, chained bool, web *webIdentityResult) *apiError {
	name := form.Get("RoleSessionName")
	if !sessionNames.MatchString(name) {
		return validation("Value '%s' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]* and have a length between 2 and 64", name)
	}
	duration, refused := sessionDuration(form, r, chained)
	if refused != nil {
		return refused
	}
	tags, refused := tagCharacters(form)
	if refused != nil {
		return refused
	}
	document := form.Get("Policy")
	if len(document) > maxPolicy {
		return validation("Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicy)
	}
	// AWS packs policy and tags together in a format that it does not publish; the characters of
	// both stand in for its size.
	if packed := (len(document) + tags) * 100 / maxPolicy; packed > 100 {
		return refuse(http.StatusBadRequest, "PackedPolicyTooLarge", fmt.Sprintf("Packed policy consumes %d%% of allotted space, please use smaller policy.", packed))
	}
	policies, err := parseOptional(document)
	if err != nil {
		return refuse(http.StatusBadRequest, "MalformedPolicyDocument", err.Error())
	}
	who := &identity{
		accessKeyID: "ASIA" + randomHex(8),
		secret:      randomHex(20),
		token:       "IQoJ" + randomHex(100),
		expires:     c.now.Add(duration).Truncate(time.Second),
		arn:         "arn:aws:sts::" + s.opt.AccountID + ":assumed-role/" + r.ARN[strings.LastIndex(r.ARN, "/")+1:] + "/" + name,
		userID:      r.id + ":" + name,
		roleARN:     r.ARN,
		policies:    append([]*policy{r.policy}, policies...),
	}
	if f := c.fault; f != nil && f.Lifetime != nil {
		who.expires = c.now.Add(*f.Lifetime).Truncate(time.Second)
	}
	s.remember(who)

	result := assumedRole{ARN: who.arn, ID: who.userID, webIdentityResult: web}
	result.Expiration = who.expires.UTC().Format(time.RFC3339)
	if c.fault == nil || !c.fault.Empty {
		result.AccessKeyID, result.SecretAccessKey, result.SessionToken = who.accessKeyID, who.secret, who.token
	}
	return c.respondSTS(form.Get("Action"), result)
}

func (s *Server) remember(who *identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities[who.accessKeyID] = who
	s.sessions = append(s.sessions, who)
	if len(s.sessions) > maxSessions {
		delete(s.identities, s.sessions[0].accessKeyID)
		s.sessions = s.sessions[1:]
	}
}

func sessionDuration(form url.Values, r *role, chained bool) (time.Duration, *apiError) {
	if !form.Has("DurationSeconds") {
		return defaultDuration, nil
	}
	seconds, err := strconv.Atoi(form.Get("DurationSeconds"))
	d := time.Duration(seconds) * time.Second
	switch {
	case err != nil || d < minDuration || d > maxDuration:
		return 0, validation("Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have a value between 900 and 43200", form.Get("DurationSeconds"))
	case chained && d > maxChained:
		return 0, refuse(http.StatusBadRequest, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	case d > r.MaxDuration:
		return 0, refuse(http.StatusBadRequest, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return d, nil
}

// tagCharacters checks the session tags and returns how long they are together.
func tagCharacters(form url.Values) (total int, _ *apiError) {
	seen := map[string]bool{}
	for i := 1; form.Has("Tags.member." + strconv.Itoa(i) + ".Key"); i++ {
		member := "Tags.member." + strconv.Itoa(i)
		key, value := form.Get(member+".Key"), form.Get(member+".Value")
		switch {
		case i > maxTags:
			return 0, validation("Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to %d", maxTags)
		case key == "" || len(key) > 128 || len(value) > 256:
			return 0, validation("Value at 'tags.%d.member' failed to satisfy constraint: a key has 1 to 128 characters, a value at most 256", i)
		case seen[strings.ToLower(key)]:
			return 0, refuse(http.StatusBadRequest, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[strings.ToLower(key)] = true
		total += len(key) + len(value)
	}
	return total, nil
}

func knownParameters(form url.Values, own string) *apiError {
	for name := range form {
		switch name {
		case "Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "Policy", own:
		default:
			if !strings.HasPrefix(name, "Tags.member.") || own == "WebIdentityToken" {
				return notImplemented("the parameter " + name)
			}
		}
	}
	return nil
}

func (s *Server) getCallerIdentity(c *call, _ url.Values) *apiError {
	return c.respondSTS("GetCallerIdentity", struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string
	}{c.who.arn, c.who.userID, s.opt.AccountID})
}

func validation(format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "ValidationError", "1 validation error detected: "+fmt.Sprintf(format, args...))
}

func (c *call) respondSTS(action string, result any) *apiError {
	body, err := xml.Marshal(struct {
		XMLName   xml.Name
		Result    element
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{xml.Name{Space: stsNamespace, Local: action + "Response"}, element{action + "Result", result}, c.id})
	if err != nil {
		return refuse(http.StatusInternalServerError, "InternalFailure", err.Error())
	}
	c.w.Header().Set("Content-Type", "text/xml")
	c.respond(http.StatusOK, body)
	return nil
}

// element is a value under a name that is known at run time.
type element struct {
	name  string
	value any
}

func (e element) MarshalXML(encoder *xml.Encoder, _ xml.StartElement) error {
	return encoder.EncodeElement(e.value, xml.StartElement{Name: xml.Name{Local: e.name}})
}

// refuseSTS writes STS's error document.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func (c *call) refuseSTS(e *apiError) {
	kind := "Sender"
	if e.status >= 500 {
		kind = "Receiver"
	}
	body, err := xml.Marshal(struct {
		XMLName   xml.Name
		Type      string `xml:"Error>Type"`
		Code      string `xml:"Error>Code"`
		Message   string `xml:"Error>Message"`
		RequestID string `xml:"RequestId"`
	}{xml.Name{Space: stsNamespace, Local: "ErrorResponse"}, kind, e.code, e.message, c.id})
	if err != nil {
		body = nil // strings alone: it does not fail
	}
	c.w.Header().Set("Content-Type", "text/xml")
	c.respond(e.status, body)
}
