package origin

// OptionError is a fault in a field of Options or of one of its stores.
type OptionError struct {
	Store   string // the name of the store whose field it is; "" is the default store, or no store
	Field   string // such as Region
	Problem string // e.g. "is not set"
	Hint    string // what to do about it; may be empty
}

func (e *OptionError) Error() string {
	if e.Store != "" {
		return faultText(e.Store+": "+e.Field, e.Problem, e.Hint)
	}
	return faultText(e.Field, e.Problem, e.Hint)
}

// SourceError is a fault in the Source of that ID. Where several sources share it, such as a session policy for
// all sources of a role, it is reported once, for the first of them.
type SourceError struct {
	ID      string
	Field   string // of Source, such as Bucket, or of its role, such as Role.ScopeDown
	Problem string
	Hint    string // what to do about it; may be empty
}

func (e *SourceError) Error() string { return faultText(e.ID+": "+e.Field, e.Problem, e.Hint) }

func faultText(where, problem, hint string) string {
	if hint != "" {
		problem += "; " + hint
	}
	return where + ": " + problem
}
