package configs

import "strings"

// Texts are what stands before, between and behind the placeholders; those side by side count as one.
func (s Source) Texts() []string {
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

// Opens reports whether a policy for the tiles of s, which has * for each placeholder, allows a key of
// other's, too. IAM's * stops at nothing, not even at a slash; what other's placeholders become is numbers.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func (s Source) Opens(other Source) bool {
	return s.Bucket == other.Bucket && s.Bucket != "" && meet(s.shape(func(placeholder) shape { return shape{{run: true}} }), other.shape(keyOf))
}

// shape is what strings have in common: characters, and runs of them.
type shape []stretch

// stretch is one character, or a run that may be empty.
type stretch struct {
	of  string // what it may be; "" for anything
	run bool
}

const digits = "0123456789"

// keyOf is what a placeholder becomes.
func keyOf(p placeholder) shape {
	if p == atScale {
		return shape{{of: "@x" + digits, run: true}} // or nothing
	}
	return shape{{of: digits}, {of: digits, run: true}}
}

func (s Source) shape(of func(placeholder) shape) shape {
	var out shape
	for _, p := range s.pieces {
		if p.is != literal {
			out = append(out, of(p.is)...)
			continue
		}
		for _, r := range p.text {
			out = append(out, stretch{of: string(r)})
		}
	}
	return out
}

// meet reports whether some string has both shapes. It goes through a once, and remembers how far into b the
// string can have come by then.
func meet(a, b shape) bool {
	at := make([]bool, len(b)+1)
	at[0] = true
	for i := 0; ; i++ {
		next := make([]bool, len(b)+1)
		possible := false
		for j := range at {
			if !at[j] {
				continue
			}
			if j < len(b) && b[j].run {
				at[j+1] = true // it ends here
			}
			if i == len(a) {
				continue
			}
			possible = true
			if a[i].run {
				next[j] = true // likewise
			}
			if j == len(b) || !a[i].shares(b[j]) {
				continue
			}
			switch { // the character that both take
			case !a[i].run && !b[j].run:
				next[j+1] = true
			case !a[i].run:
				next[j] = true
			case !b[j].run:
				at[j+1] = true
			}
		}
		if i == len(a) {
			return at[len(b)]
		}
		if !possible {
			return false
		}
		at = next
	}
}

// shares reports whether one character can be of both.
func (s stretch) shares(other stretch) bool {
	return s.of == "" || other.of == "" || strings.ContainsAny(s.of, other.of)
}
