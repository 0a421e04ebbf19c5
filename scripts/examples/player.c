/* A player in C: one protected call with what tvpassd hands out. Build it with: cc -o player player.c -lcurl
 *   player SOCKET APP URL [CA_FILE] */
#include <curl/curl.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct { char *body; long status; curl_off_t after; } answer; /* the last one; after: its Retry-After in seconds */

static void exchange(const char *socket, const char *ca, const char *url, struct curl_slist *headers, const char *body) {
	size_t size;
	free(answer.body);
	FILE *file = open_memstream(&answer.body, &size);
	CURL *curl = curl_easy_init();
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	if (ca) curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	if (body) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, file);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
	CURLcode code = curl_easy_perform(curl);
	if (code) errx(1, "%s: %s: %s", socket ? socket : url, curl_easy_strerror(code), socket ?
		"start tvpassd (tvpassd start), or see who may open the socket (ls -l)" : "check network, name and certificate (tvpassd doctor)");
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
	curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &answer.after);
	curl_easy_cleanup(curl);
	fclose(file);
}

/* The value of a name in the answer, "" where it is not there. A player that has a JSON library uses that. */
static char *value(const char *name) {
	static char found[16 << 10];
	snprintf(found, sizeof found, "\"%s\":", name);
	const char *at = strstr(answer.body, found);
	if (at && *(at += strlen(found)) == '"') at++;
	snprintf(found, sizeof found, "%.*s", at ? (int)strcspn(at, "\",}") : 0, at ? at : "");
	return found;
}

/* Asks the daemon, again where it says when. */
static void ask(const char *socket, const char *app, const char *name, const char *body) {
	char url[1024];
	snprintf(url, sizeof url, "http://tvpassd/v1/apps/%s/%s", app, name);
	for (int tries = 0; tries < 5; tries++) {
		exchange(socket, NULL, url, NULL, body);
		long pause = (atol(value("retry_after_ms")) + 999) / 1000;
		if (answer.status != 503 || pause > 60) break;
		sleep(pause ? pause : 1);
	}
	if (answer.status >= 300) errx(1, "tvpassd answered %s: see tvpassd status", value("code"));
}

int main(int argc, char **argv) {
	static const char *names[] = {"X-Device-Info", "AP-Device-Identifier", "Authorization"};
	char line[17 << 10], report[18 << 10];
	if (argc < 4) errx(64, "usage: player SOCKET APP URL [CA_FILE]");
	for (unsigned pause = 1, reported = 0;;) {
		struct curl_slist *headers = NULL;
		ask(argv[1], argv[2], "headers", NULL); /* each time: it costs nothing, and is sure to be good */
		for (int i = 0; i < 3; i++, headers = curl_slist_append(headers, line))
			snprintf(line, sizeof line, "%s: %s", names[i], value(names[i]));
		exchange(NULL, argv[4], argv[3], headers, NULL); /* argv[argc] is NULL */
		curl_slist_free_all(headers);
		if (answer.status == 429 && pause <= 4 && answer.after <= 60) { /* the throttle: wait 1, 2 and 4 s, or what it asks for */
			sleep(answer.after > pause ? answer.after : pause);
			pause *= 2;
		} else if (answer.status == 401 && !reported++) { /* the daemon fetches another token, and has the next call wait for it */
			snprintf(report, sizeof report, "{\"access_token\":\"%s\",\"status\":401}", line + strlen("Authorization: Bearer "));
			ask(argv[1], argv[2], "report", report);
		} else break;
	}
	if (answer.status >= 300) errx(1, "%s answered %ld %s: %s", argv[3], answer.status, value("code"),
		answer.status == 401 ? "have the app checked in the TVE Dashboard" : answer.status == 429 ? "too many calls, try again in a minute" :
		"see Adobe's page \"Enhanced error codes\"");
	fputs(answer.body, stdout);
}
