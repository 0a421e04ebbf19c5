package ipc

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func status() AppStatus {
	return AppStatus{
		App: "one", State: StateReady, ClientID: "abcd****", RegisteredAt: new(start), Registrations: 1,
		TokenExpiresAt: new(start.Add(time.Hour)), TokenExpiresIn: new(int64(3600)), NextRefreshIn: new(int64(1800)),
		LastContactAt: new(start), LastError: &LastError{Code: CodeOffline, At: start},
		Transitions: []Transition{{At: start, State: StateReady}},
	}
}

// change gives each field of a struct in turn another value, and calls back
// with its name.
func change[T any](t *testing.T, fresh func() T, changed func(field string, v T)) {
	t.Helper()
	for i := range reflect.TypeFor[T]().NumField() {
		v := fresh()
		if !alter(reflect.ValueOf(&v).Elem().Field(i)) {
			t.Fatalf("no other value for %s", reflect.TypeFor[T]().Field(i).Name)
		}
		changed(reflect.TypeFor[T]().Field(i).Name, v)
	}
}

func alter(f reflect.Value) bool {
	switch v := f.Addr().Interface().(type) {
	case *string:
		*v += "x"
	case *int:
		*v++
	case *int64:
		*v += 100
	case *time.Time:
		*v = v.Add(time.Minute)
	case **time.Time:
		*v = new((**v).Add(time.Minute))
	case **int64:
		*v = new(**v + 100)
	case **LastError:
		*v = &LastError{Code: (*v).Code, Detail: "x", At: (*v).At}
	case **GatewayCalls:
		*v = &GatewayCalls{InFlight: 1}
	case *[]Transition:
		*v = append(*v, Transition{At: start, State: StateStale})
	default:
		return false
	}
	return true
}

func TestAppStatusSame(t *testing.T) {
	change(t, status, func(field string, s AppStatus) {
		// The status has the rest of the token's life in two forms.
		if same := status().Same(s, 0); same != (field == "TokenExpiresIn") {
			t.Errorf("another %s: the same: %v", field, same)
		}
	})
	for name, later := range map[string]AppStatus{"without a token": {}, "of another zone": status()} {
		if name == "of another zone" {
			later.LastContactAt = new(start.In(time.FixedZone("CET", 3600)))
		}
		if same := status().Same(later, 0); same != (name == "of another zone") {
			t.Errorf("%s: the same: %v", name, same)
		}
	}
	later := status()
	later.TokenExpiresAt, later.TokenExpiresIn, later.NextRefreshIn = new(start.Add(time.Hour+time.Second)),
		new(int64(3540)), new(int64(1739))
	if !status().Same(later, time.Minute) {
		t.Error("seconds that pass make it another")
	}
	if status().Same(later, 0) {
		t.Error("a refresh a minute earlier is not noticed")
	}
}

func TestTokenSame(t *testing.T) {
	fresh := func() Token {
		return Token{App: "one", AccessToken: "t", TokenType: "bearer", ID: "1", IssuedAt: start,
			ExpiresAt: start.Add(time.Hour), ExpiresIn: 3600}
	}
	change(t, fresh, func(field string, tok Token) {
		if same := fresh().Same(tok); same != (field == "IssuedAt" || field == "ExpiresIn") {
			t.Errorf("another %s: the same: %v", field, same)
		}
	})
	later := fresh()
	later.ExpiresAt, later.ExpiresIn = later.ExpiresAt.Add(time.Second), 3000
	if !fresh().Same(later) {
		t.Error("seconds that pass make it another")
	}
}

func TestProblems(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range problems {
		got := NewProblem(p.code, "why")
		want := &Problem{Title: p.title, Status: p.status, Detail: "why", Code: p.code}
		if *got != *want || p.title == "" || http.StatusText(p.status) == "" || seen[p.code] {
			t.Errorf("%s: %+v", p.code, got)
		}
		seen[p.code] = true
	}
	if got := NewProblem("other", "why"); got.Status != http.StatusInternalServerError || got.Code != "other" ||
		got.Title == "" {
		t.Errorf("an unknown code: %+v", got)
	}
	var p Problem
	const object = `{"code":"rejected","server_code":"x","detail":"why","retry_after_ms":1500,"new":1}`
	if err := json.Unmarshal([]byte(object), &p); err != nil ||
		p.Error() != "rejected (x): why" || p.RetryAfter() != 1500*time.Millisecond {
		t.Errorf("%+v, %v", p, err)
	}
}
