/* A player in C: one call of the REST API V2, through tvpassd's gateway.
 *   cc -o player player.c -lcurl
 *   player SOCKET APP PATH [BODY] */
#include <curl/curl.h>
#include <err.h>
#include <stdio.h>
#include <string.h>

/* The value of a name in an answer, "" if it is not there. A player that has a
 * JSON library uses that. */
static const char *value(const char *answer, const char *name) {
	static char found[1024];
	snprintf(found, sizeof found, "\"%s\":", name);
	const char *at = strstr(answer, found);
	if (at && *(at += strlen(found)) == '"') at++;
	snprintf(found, sizeof found, "%.*s", at ? (int)strcspn(at, "\",}") : 0, at ? at : "");
	return found;
}

int main(int argc, char **argv) {
	if (argc < 4) errx(64, "usage: player SOCKET APP PATH [BODY]");
	const char *body = argv[4]; /* argv[argc] is NULL */
	char url[2048], *answer;
	size_t size;
	long status;
	FILE *file = open_memstream(&answer, &size);
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = curl_slist_append(NULL, "Prefer: wait=60");
	if (body && *body == '{') headers = curl_slist_append(headers, "Content-Type: application/json");
	snprintf(url, sizeof url, "http://tvpassd/v1/apps/%s/api/v2/%s", argv[2], argv[3]);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, argv[1]);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	if (body) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, file);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 120L);
	/* tvpassd adds the token, waits for the throttle, and repeats what may be repeated. */
	CURLcode code = curl_easy_perform(curl);
	if (code) errx(1, "%s: start tvpassd (tvpassd start), or see who may open %s (ls -l)",
		curl_easy_strerror(code), argv[1]);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	fclose(file);
	if (status >= 300) errx(1, "%ld %s: %s", status, value(answer, "code"), status == 401 ?
		"have the app checked in the TVE Dashboard" : "docs/players.md says what to do");
	fputs(answer, stdout);
}
