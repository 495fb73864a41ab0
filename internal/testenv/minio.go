package testenv

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/crypto/argon2"
)

// OpenID lets AssumeRoleWithWebIdentity into MinIO.
type OpenID struct {
	ConfigURL string // of the issuer's discovery document
	ClientID  string // the tokens' audience
	// RolePolicy names the policies of whoever presents a token, e.g. readonly; empty: the
	// token's claim does, which is policy unless ClaimName says otherwise.
	RolePolicy, ClaimName string
}

// MinIO starts a MinIO server: S3, and at the same endpoint an STS whose AssumeRole takes the role's
// ARN for a formality and gives the caller's own rights, cut by the session policy. The issuer, if
// one is given, has to answer already.
func MinIO(t testing.TB, openID ...OpenID) *S3 {
	t.Helper()
	binary := find(t, "make tools", "minio")
	s := &S3{Region: "us-east-1", AccessKey: "minio-root", SecretKey: "minio-root-secret"}
	dir := t.TempDir()
	s.Endpoint = "http://" + run(t, "/minio/health/ready", func(address string) *exec.Cmd {
		cmd := exec.Command(binary, "server", dir, "--address", address, "--quiet")
		cmd.Env = append(environment("MINIO_"), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey, "MINIO_BROWSER=off", "HOME="+dir)
		for _, o := range openID {
			cmd.Env = append(cmd.Env, o.environment()...)
		}
		return cmd
	})
	s.waitForIAM(t)
	return s
}

// waitForIAM: ready means S3 alone, users and roles come a little later.
func (s *S3) waitForIAM(t testing.TB) {
	t.Helper()
	client := sts.New(sts.Options{
		Region:       s.Region,
		BaseEndpoint: aws.String(s.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	err := poll(ctx, nil, func() bool {
		_, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam:::role/any"), RoleSessionName: aws.String("ready")})
		return err == nil
	})
	if err != nil {
		t.Fatalf("MinIO's STS at %s: %v", s.Endpoint, err)
	}
}

func (o OpenID) environment() []string {
	env := []string{"MINIO_IDENTITY_OPENID_CONFIG_URL=" + o.ConfigURL, "MINIO_IDENTITY_OPENID_CLIENT_ID=" + o.ClientID}
	if o.RolePolicy != "" {
		env = append(env, "MINIO_IDENTITY_OPENID_ROLE_POLICY="+o.RolePolicy)
	}
	if o.ClaimName != "" {
		env = append(env, "MINIO_IDENTITY_OPENID_CLAIM_NAME="+o.ClaimName)
	}
	return env
}

// AddPolicy gives a policy document a name, on MinIO alone.
func (s *S3) AddPolicy(t testing.TB, name, document string) {
	t.Helper()
	s.administer(t, "add-canned-policy", url.Values{"name": {name}}, []byte(document))
}

// AddUser adds a user that has a named policy, e.g. readonly, on MinIO alone. The secret has eight
// characters or more.
func (s *S3) AddUser(t testing.TB, accessKey, secretKey, policy string) {
	t.Helper()
	user, err := json.Marshal(map[string]string{"secretKey": secretKey, "status": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	s.administer(t, "add-user", url.Values{"accessKey": {accessKey}}, s.seal(t, user))
	s.administer(t, "set-user-or-group-policy", url.Values{"userOrGroup": {accessKey}, "isGroup": {"false"}, "policyName": {policy}}, nil)
}

// administer calls MinIO's admin API, which is signed like S3.
func (s *S3) administer(t testing.TB, action string, query url.Values, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.Endpoint+"/minio/admin/v3/"+action+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	request.Header.Set("X-Amz-Content-Sha256", hash)
	root := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), root, request, hash, "s3", s.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("MinIO %s: %v", action, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		t.Fatalf("MinIO %s: %s: %s", action, response.Status, answer)
	}
}

// seal encrypts what the admin API wants encrypted: salt, one byte for Argon2id with AES-256-GCM, a
// nonce of eight bytes, and the text as the last of its 16 KiB fragments. A fragment's nonce ends in
// its number; number 0 seals nothing, and its tag is the others' associated data, behind a byte that
// is 0x80 for the last one.
func (s *S3) seal(t testing.TB, text []byte) []byte {
	t.Helper()
	const saltSize, nonceSize = 32, 8
	out := make([]byte, saltSize+1+nonceSize, 1024)
	_, _ = rand.Read(out) // never fails
	out[saltSize] = 0
	block, err := aes.NewCipher(argon2.IDKey([]byte(s.SecretKey), out[:saltSize], 1, 64*1024, 4, 32))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := func(number byte) []byte {
		return append(out[saltSize+1:saltSize+1+nonceSize:saltSize+1+nonceSize], number, 0, 0, 0)
	}
	associated := gcm.Seal([]byte{0x80}, nonce(0), nil, nil)
	return gcm.Seal(out, nonce(1), text, associated)
}
