package broker

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
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

// unwritten returns a lab whose disk is full, and whose app has a token that is
// not stored.
func unwritten(t *testing.T) (l *lab, token string) {
	l = newLab(t)
	l.pass(10 * time.Second)
	l.store.fails = errDisk
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(time.Second)
	token = l.served()
	if stored := l.store.apps[labEndpoint+"ref30"].Token; stored.AccessToken == token {
		t.Fatal("the token is stored on a full disk")
	}
	l.store.fails = nil // and the next attempt is half a minute away
	return l, token
}

func (l *lab) expectStored(token string) {
	l.t.Helper()
	if stored := l.store.apps[labEndpoint+"ref30"].Token; stored == nil || stored.AccessToken != token {
		l.t.Errorf("stored is %+v, want %q", stored, token)
	}
}

func TestTheLastWriteIsMadeAtAStop(t *testing.T) {
	l, token := unwritten(t)
	if err := l.engine.close(l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.expectStored(token)
}

func TestAFullDiskAtAStopIsTold(t *testing.T) {
	l, _ := unwritten(t)
	l.store.fails = errDisk
	if err := l.engine.close(l.clock.Now()); !errors.Is(err, errDisk) {
		t.Errorf("the stop reports %v", err)
	}
}

func TestAnAppThatWasTakenOutIsWritten(t *testing.T) {
	l, token := unwritten(t)
	l.setup.Apps = nil
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.pass(saveAgain + time.Second)
	l.expectStored(token)
}

func TestADiskThatFreesUpIsWrittenTo(t *testing.T) {
	l, token := unwritten(t)
	l.pass(saveAgain + time.Second)
	l.expectStored(token)
	if l.engine.saveErr != nil || strings.Count(l.logs.String(), "could be written again") != 1 {
		t.Errorf("the error is %v, the log\n%s", l.engine.saveErr, &l.logs)
	}
}

// A reset that fails leaves nothing to write. That the disk works again is said
// once it does, and not before.
func TestADiskThatStaysFullAfterAReset(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.store.fails = errDisk
	if err := l.engine.reset(l.machine(), l.clock.Now()); !errors.Is(err, errDisk) {
		t.Fatalf("the reset reports %v", err)
	}
	l.pass(10 * saveAgain)
	if l.engine.saveErr == nil || strings.Contains(l.logs.String(), "could be written again") {
		t.Errorf("the disk is full; the error is %v, the log\n%s", l.engine.saveErr, &l.logs)
	}
	l.store.fails = nil
	l.pass(saveAgain + time.Second)
	if l.engine.saveErr != nil || strings.Count(l.logs.String(), "could be written again") != 1 {
		t.Errorf("the disk works; the error is %v, the log\n%s", l.engine.saveErr, &l.logs)
	}
}

func TestReadersAreNotHeldUpByTheDisk(t *testing.T) {
	b := running(t)
	b.ready()
	var inside sync.WaitGroup
	inside.Add(1)
	release := make(chan struct{})
	go func() {
		err := b.do(context.Background(), func(clock.Reading) { inside.Done(); <-release })
		if err != nil {
			t.Error(err)
		}
	}()
	inside.Wait()
	if _, err := b.Token(context.Background(), "ref30", 0, 0); err != nil {
		t.Error(err)
	}
	close(release)
}

func TestATokenIsServedBeforeItIsWritten(t *testing.T) {
	disk := slowDisk{&labStore{apps: map[string]storage.App{}}, make(chan struct{}), make(chan struct{})}
	b := runningOn(t, disk, labClock{boot: time.Minute, wall: labStart, bootID: "b", synced: true})
	for range 2 {
		<-b.up.began
		b.up.release <- nil
	}
	<-disk.writes
	if _, err := b.Token(t.Context(), "ref30", 0, 0); err != nil {
		t.Error(err)
	}
	close(disk.release)
}
