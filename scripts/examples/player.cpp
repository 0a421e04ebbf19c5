// A player in C++17: one protected call with what tvpassd hands out. Build it with: c++ -std=c++17 -o player player.cpp -lcurl
//   player SOCKET APP URL [CA_FILE]
#include <algorithm>
#include <chrono>
#include <curl/curl.h>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

struct Answer {
	long status = 0;
	curl_off_t after = 0; // its Retry-After in seconds
	std::string body;
	// The value of a name, "" where it is not there. A player that has a JSON library uses that.
	std::string value(const std::string &name) const {
		auto at = body.find('"' + name + "\":");
		if (at == std::string::npos) return "";
		at = body.find_first_not_of('"', at + name.size() + 3);
		return body.substr(at, body.find_first_of("\",}", at) - at);
	}
};

// One exchange, over a socket where there is one. What fails is thrown, with what to do about it.
Answer exchange(const char *socket, const char *ca, const std::string &url, curl_slist *headers, const std::string &body, const char *todo) {
	const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
	Answer answer;
	curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket);
	if (ca) curl_easy_setopt(curl.get(), CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
	curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
	if (!body.empty()) curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
	curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
	curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, +[](char *part, size_t, size_t n, std::string *to) { to->append(part, n); return n; });
	if (const auto code = curl_easy_perform(curl.get())) throw std::runtime_error(curl_easy_strerror(code) + (": " + url) + ": " + todo);
	curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.status);
	curl_easy_getinfo(curl.get(), CURLINFO_RETRY_AFTER, &answer.after);
	return answer;
}

// Asks the daemon, again where it says when.
Answer ask(const char *socket, const std::string &path, const std::string &body = "") {
	for (int tries = 1;; tries++) {
		auto answer = exchange(socket, nullptr, "http://tvpassd/v1/apps/" + path, nullptr, body, "start tvpassd, or join its socket's group");
		if (answer.status < 300) return answer;
		const std::chrono::milliseconds pause(std::stol('0' + answer.value("retry_after_ms")));
		if (answer.status != 503 || pause > std::chrono::minutes(1) || tries == 5)
			throw std::runtime_error("tvpassd answered " + answer.value("code") + ": see tvpassd status");
		std::this_thread::sleep_for(pause);
	}
}

int main(int argc, char **argv) try {
	if (argc < 4) throw std::runtime_error("usage: player SOCKET APP URL [CA_FILE]");
	Answer answer;
	for (long pause = 1, reported = 0;;) {
		const Answer told = ask(argv[1], std::string(argv[2]) + "/headers"); // each time: it costs nothing, and is sure to be good
		std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
		for (const std::string name : {"Authorization", "AP-Device-Identifier", "X-Device-Info"})
			headers.reset(curl_slist_append(headers.release(), (name + ": " + told.value(name)).c_str()));
		answer = exchange(nullptr, argv[4], argv[3], headers.get(), "", "check network, name and certificate (tvpassd doctor)");
		if (const auto wait = std::max<long>(pause, answer.after); answer.status == 429 && pause <= 4 && wait <= 60) { // the throttle
			std::this_thread::sleep_for(std::chrono::seconds(wait));
			pause *= 2;
		} else if (answer.status == 401 && !reported++) { // the daemon fetches another token, and has the next call wait for it
			const std::string token = told.value("Authorization").substr(7); // behind Bearer and a space
			ask(argv[1], std::string(argv[2]) + "/report", R"({"access_token":")" + token + R"(","status":401})");
		} else break;
	}
	if (answer.status >= 300)
		throw std::runtime_error(argv[3] + (" answered " + std::to_string(answer.status) + " " + answer.value("code")) +
			(answer.status == 429 ? ": too many calls, try again in a minute" : ": see Adobe's page \"Enhanced error codes\""));
	std::cout << answer.body;
} catch (const std::exception &e) {
	std::cerr << "player: " << e.what() << '\n';
	return 1;
}
