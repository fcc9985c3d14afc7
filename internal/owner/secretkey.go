package owner

import (
	"slices"
	"strings"
	"unicode"
)

// secretParts make a name secret wherever they stand in it, separators and
// case aside.
var secretParts = []string{
	"password", "passwd", "passphrase", "passcode", "secret", "credential",
	"apikey", "privatekey", "accesskey", "accountkey", "authkey", "sharedkey",
	"signingkey", "encryptionkey", "accesstoken", "authtoken", "authorization",
	"superdigest", // zookeeper.DigestAuthenticationProvider.superDigest=super:HASH
	"masterauth", "storepass", "keypass", "requirepass",
}

// secretWords make a name secret as its last word: alone they are too short
// (compass, author, tokenizer), and further on they mean something else
// (auth.provider, pass-through, token_count).
var secretWords = []string{"pass", "pwd", "pw", "token", "auth", "jwt", "bearer", "cookie"}

// notPass are words that end in "pass" and are no passwords; other such words
// (dbpass, rootpass) are.
var notPass = []string{"bypass", "compass", "encompass", "multipass", "overpass", "surpass", "trespass", "underpass"}

// carriers are last words that say in which form a secret is given.
var carriers = []string{"value", "string", "text", "data", "plain", "base64", "b64", "header", "hash", "env"}

// aboutSecrets are last words of names that tell about a secret, or where it
// is, and do not hold it. What they hold helps to explain a reset.
var aboutSecrets = []string{
	"file", "path", "dir", "directory", "location", "config", "type", "provider", "class",
	"method", "mode", "mechanism", "scheme", "enabled", "disabled", "required", "policy",
	"timeout", "ttl", "expiry", "interval", "url", "uri", "endpoint", "server", "host", "port",
	"count", "length", "max", "min", "size", "limit", "name", "handler", "callback", "encoder",
}

// secrecy says how sure it is that a name is a secret's.
type secrecy int

const (
	open   secrecy = iota
	weak           // by a last word: a plain switch or a port after it is none
	strong         // by a part of it
)

// secrecyOf judges the name of an option, property or variable.
func secrecyOf(name string) secrecy {
	name = strings.TrimLeft(name, "-")
	words := splitWords(name)
	if len(words) == 0 {
		return open
	}
	if w := words[0]; len(words) > 1 && (w == "no" || w == "ask" || w == "prompt") {
		return open // --no-password, --ask-pass: they take no value
	}
	for len(words) > 1 && (slices.Contains(carriers, words[len(words)-1]) || isNumber(words[len(words)-1])) {
		words = words[:len(words)-1]
	}
	last := words[len(words)-1]
	if len(words) > 1 && slices.Contains(aboutSecrets, last) {
		return open
	}
	squashed := strings.Join(words, "")
	for _, part := range secretParts {
		if strings.Contains(squashed, part) {
			return strong
		}
	}
	if slices.Contains(secretWords, last) || strings.HasSuffix(last, "pass") && !slices.Contains(notPass, last) {
		return weak
	}
	return open
}

// splitWords cuts a name at separators and where capitals begin, in lower
// case: trustStorePassword, ssl.key-store_PASSWORD, APIKey.
func splitWords(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(name)
	for i, c := range runes {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			flush()
			continue
		}
		if unicode.IsUpper(c) && i > 0 && (unicode.IsLower(runes[i-1]) ||
			unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			flush()
		}
		word = append(word, c)
	}
	flush()
	return words
}

func isNumber(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
