package broker

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

func TestAFailedWriteIsLoggedOnce(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.store.fails = errDisk
	l.pass(10 * time.Hour)
	if n := strings.Count(l.logs.String(), "could not be written"); n != 1 {
		t.Errorf("logged %d times in ten hours", n)
	}
}

// A record must hold all that an App does, or the rest would be lost at the next
// write.
func TestARecordHoldsEverythingOfAnApp(t *testing.T) {
	app, rec := reflect.TypeFor[storage.App](), reflect.TypeFor[record]()
	if app.NumField() != rec.NumField() {
		t.Errorf("an App has %d parts, a record %d", app.NumField(), rec.NumField())
	}
	want := storage.App{
		Credentials: &storage.Credentials{}, History: storage.History{Registrations: 7}, Token: &storage.Token{},
		Retry: &storage.Retry{}, Transitions: &storage.Transitions{},
	}
	for i := range app.NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Errorf("this test does not know %s", app.Field(i).Name)
		}
	}
	if got := recordOf(want).app(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
}
