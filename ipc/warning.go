package ipc

// Values of [Warning.Code], beside [CodeClockUnset], [CodeStorage] and
// [CodeInvalidConfiguration].
const (
	WarnAppDisabled         = "app_disabled"           // an app, or a file in apps.d
	WarnReloadNeeded        = "reload_needed"          // the configuration on disk is not in force
	WarnRestartNeeded       = "restart_needed"         // a setting changed that a reload can't change
	WarnGroupsUnknown       = "groups_unknown"         // the kernel does not report all groups of a caller
	WarnStateVolatile       = "state_volatile"         // the next boot empties the state directory
	WarnStateMended         = "state_mended"           // the state was damaged
	WarnSocketRemoved       = "socket_removed"         // players can't find the socket
	WarnThrottleShared      = "throttle_shared"        // others use up the server's throttle
	WarnReplaced            = "credentials_replaced"   // the device was registered again
	WarnBuildDateMissing    = "build_date_missing"     // the program does not know when it was built
	WarnIdentifierMismatch  = "identifier_mismatch"    // the hardware yields another identifier
	WarnIdentifierGone      = "identifier_source_gone" // the hardware behind it can't be read any more
	WarnIdentifierMissing   = "identifier_missing"     // there is none
	WarnIdentifierGenerated = "identifier_generated"   // it does not come from the hardware
	WarnIdentifierNotKept   = "identifier_not_kept"    // it could not be stored
	WarnDeviceValue         = "device_value_left_out"  // X-Device-Info does not know a value
	WarnDeviceKey           = "device_key_missing"     // a key that must be sent was not found
)

// LogGateForgetful is a code of the log alone: the gate's memory can't be read
// or written.
const LogGateForgetful = "gate_forgetful"
