// A player in C++17: one call of the REST API V2, through tvpassd's gateway.
//   c++ -std=c++17 -o player player.cpp -lcurl
//   player SOCKET APP PATH [BODY]
#include <curl/curl.h>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

// The value of a name in an answer, "" if it is not there. A player that has a
// JSON library uses that.
std::string value(const std::string &answer, const std::string &name) {
	auto at = answer.find('"' + name + "\":");
	if (at == std::string::npos) return "";
	at = answer.find_first_not_of('"', at + name.size() + 3);
	return answer.substr(at, answer.find_first_of("\",}", at) - at);
}

int main(int argc, char **argv) try {
	if (argc < 4) throw std::runtime_error("usage: player SOCKET APP PATH [BODY]");
	const std::string url = "http://tvpassd/v1/apps/" + std::string(argv[2]) + "/api/v2/" + argv[3];
	const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
	std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
		curl_slist_append(nullptr, "Prefer: wait=60"), curl_slist_free_all);
	std::string answer;
	curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, argv[1]);
	curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
	if (argc > 4) {
		curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, argv[4]);
		if (*argv[4] == '{') headers.reset(curl_slist_append(headers.release(), "Content-Type: application/json"));
	}
	curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
	curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 120L);
	curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
	curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION,
		+[](char *part, size_t, size_t n, std::string *to) { to->append(part, n); return n; });
	// tvpassd adds the token, waits for the throttle, and repeats what may be repeated.
	if (const auto code = curl_easy_perform(curl.get()))
		throw std::runtime_error(curl_easy_strerror(code) +
			std::string(": start tvpassd (tvpassd start), or see who may open ") + argv[1] + " (ls -l)");
	long status = 0;
	curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
	if (status >= 300)
		throw std::runtime_error(std::to_string(status) + " " + value(answer, "code") + (status == 401 ?
			": have the app checked in the TVE Dashboard" : ": docs/players.md says what to do"));
	std::cout << answer;
} catch (const std::exception &e) {
	std::cerr << "player: " << e.what() << '\n';
	return 1;
}
