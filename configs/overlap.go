package configs

import "strings"

// Literals returns the text before, between and after the placeholders. Placeholders side by side count as
// one.
func (s Source) Literals() []string {
	texts := []string{""}
	for _, p := range s.pieces {
		last := len(texts) - 1
		switch {
		case p.is == literal:
			texts[last] += p.text
		case last == 0 || texts[last] != "":
			texts = append(texts, "")
		}
	}
	return texts
}

// Overlaps reports whether an IAM policy for the tiles of s, which has * for each placeholder, allows some
// key of other too. IAM's * matches any text, slashes included; other's placeholders become numbers.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func (s Source) Overlaps(other Source) bool {
	anything := func(piece) pattern { return pattern{{repeats: true}} }
	return s.Bucket == other.Bucket && s.Bucket != "" && s.pattern(anything).meets(other.pattern(patternOf))
}

// OverlapsBundle is Overlaps for a bundle, whose objects are all that have its prefix.
func (s Source) OverlapsBundle(bundle Source) bool {
	anything := func(piece) pattern { return pattern{{repeats: true}} }
	under := append(bundle.pattern(patternOf), patternPart{repeats: true})
	return s.Bucket == bundle.Bucket && s.Bucket != "" && s.pattern(anything).meets(under)
}

// pattern stands for all strings that consist of its parts.
type pattern []patternPart

// patternPart is one character, or any number of them.
type patternPart struct {
	chars   string // those that it may be; "" for all
	repeats bool   // none, one or many
}

const (
	digits    = "0123456789"
	hexDigits = digits + "abcdef"
)

// patternOf returns what a placeholder may become.
func patternOf(p piece) pattern {
	if p.is == atScale {
		return pattern{{chars: "@x" + digits, repeats: true}} // nothing at scale 1
	}
	chars := digits
	if p.hex {
		chars = hexDigits
	}
	var out pattern
	for range max(p.width, 1) {
		out = append(out, patternPart{chars: chars})
	}
	return append(out, patternPart{chars: chars, repeats: true})
}

func (s Source) pattern(of func(piece) pattern) pattern {
	var out pattern
	for _, p := range s.pieces {
		if p.is != literal {
			out = append(out, of(p)...)
			continue
		}
		for _, r := range p.text {
			out = append(out, patternPart{chars: string(r)})
		}
	}
	return out
}

// meets reports whether some string fits both patterns. It walks through p once. After i parts of p,
// reached[j] says that some string fits these and the first j parts of q.
func (p pattern) meets(q pattern) bool {
	reached := make([]bool, len(q)+1)
	reached[0] = true
	for i := 0; ; i++ {
		next := make([]bool, len(q)+1)
		isPossible := false
		for j := range reached {
			if !reached[j] {
				continue
			}
			if j < len(q) && q[j].repeats {
				reached[j+1] = true // no more of q[j]
			}
			if i == len(p) {
				continue
			}
			isPossible = true
			if p[i].repeats {
				next[j] = true // no more of p[i]
			}
			if j == len(q) || !p[i].shares(q[j]) {
				continue
			}
			switch { // a character that fits p[i] and q[j]
			case !p[i].repeats && !q[j].repeats:
				next[j+1] = true
			case !p[i].repeats:
				next[j] = true
			case !q[j].repeats:
				reached[j+1] = true
			}
		}
		if i == len(p) {
			return reached[len(q)]
		}
		if !isPossible {
			return false
		}
		reached = next
	}
}

// shares reports whether some character fits both parts.
func (e patternPart) shares(other patternPart) bool {
	return e.chars == "" || other.chars == "" || strings.ContainsAny(e.chars, other.chars)
}
